"""What doors show of machines and their offers, said once."""

from __future__ import annotations

from typing import Any

from nodes.machine import HIDDEN, Hidden
from nodes.models import Offer
from nodes.search import board
from nodes.search.query import Query, Words


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
