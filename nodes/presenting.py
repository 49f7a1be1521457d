"""What doors show of machines and their offers, said once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core import money
from nodes.machine import HIDDEN, Hidden
from nodes.models import Node, Offer, SmartPrice, Workload
from nodes.repricing import SENTENCES, WINDOW_SECONDS, Seen, clamp, next_price
from nodes.search import board
from nodes.search.query import Query, Words
from nodes.services import Preview


def offer_of(node: Node) -> Offer | None:
    """Return a machine's offer; many are read with `select_related("offer")`, so that nothing is asked here."""
    offer: Offer | None = getattr(node, "offer", None)
    return offer


def hidden_out(offer: Offer | None) -> dict[str, str] | None:
    """Return why the search does not show this offer, as a code and a sentence; None when it does."""
    if offer is None:
        why = Hidden.OFFLINE
    elif offer.listed:
        return None
    else:
        why = Hidden(offer.hidden_because)
    return {"code": why.value, "sentence": HIDDEN[why]}


def rank_out(offer: Offer | None) -> dict[str, int] | None:
    """Return where an offer stands among those of its model that can start now, cheapest first; None: hidden."""
    if offer is None or not offer.listed:
        return None
    words = frozenset({offer.gpu_model} - {""})
    same = Words("gpu_model", words, frozenset())
    query = Query(filters=(same,)) if words else Query(gpus=0)
    return board.rank(query, offer.number or 0)


def workload_out(workload: Workload) -> dict[str, Any]:
    """Return what a host sees of what was started on its machine; `state` is None until its agent has told one."""
    return {
        "rental_id": str(workload.subject_id),
        "id": str(workload.pk),
        "wish": workload.wish,
        "state": workload.observed_state or None,
        "created_at": workload.created_at,
    }


def smart_out(smart: SmartPrice | None, preview: Preview | None) -> dict[str, Any] | None:
    """Return a host's wishes and what follows from them now, with every input; None: there are no wishes."""
    if preview is None:
        return None
    after, seen, course, wishes = preview.next, preview.seen, preview.course, preview.wishes
    occupancy = seen.occupancy_bp
    return {
        "on": bool(smart and smart.on),
        "floor_hourly": an_hour(wishes.floor),
        "ceiling_hourly": an_hour(wishes.ceiling),
        "target_percent": wishes.target_bp // 100,
        "changed_at": smart.stepped_at if smart else None,
        "next": {
            "hourly_now": an_hour(course.rate),
            "hourly_next": an_hour(after.rate),
            "changes": after.rate != course.rate,
            "why": after.why.value,
            "sentence": SENTENCES[after.why],
            "step_percent": after.step_bp / 100,
            "pace_percent": course.pace_bp / 100,
            "occupancy_percent": None if occupancy is None else occupancy / 100,
            "rented_card_seconds": seen.rented,
            "heard_card_seconds": seen.heard,
            "cards": seen.cards,
            "offered": seen.offered,
            "seconds_since_change": course.since,
        },
    }


def what_if(preview: Preview) -> list[dict[str, Any]]:
    """Return the step for some occupancies of a whole day, as if the last change were long ago."""
    heard = WINDOW_SECONDS
    course = replace(preview.course, rate=clamp(preview.course.rate, preview.wishes), since=None)
    rows = []
    for percent in (0, 20, 40, 60, 80, 100):
        day = Seen(rented=heard * percent // 100, heard=heard, cards=1)
        after = next_price(preview.wishes, course, day)
        change = after.direction * after.step_bp / 100 if after.step_bp else 0
        signed = f"{change:+.2f}".replace("-", "−") if change else "0"
        rows.append({"percent": percent, "hourly": an_hour(after.rate), "change": signed})
    return rows


def an_hour(rate: int) -> str:
    """Return a rate (nano/s) as the exact price of an hour."""
    return money.decimal_string(rate * money.SECONDS_PER_HOUR)


def search_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the search as a page shows it: None for what is not known, which pages show as –."""
    vram, reliability = row["vram_mib"], row["reliability_bp"]
    return {
        **row,
        "hardware": f"{row['gpus']} × {row['gpu_model']}" if row["gpus"] else row["cpu_model"],
        "vram_gib": None if vram is None else round(vram / 1024),
        "memory_gib": row["memory_mib_yours"] // 1024,
        "reliability": None if reliability is None else f"{reliability / 100:.2f}",
        "place": ", ".join(part for part in (row["region"], row["country"]) if part) or None,
        "value": None if row["value"] is None else f"{row['value']:.0f}",
    }
