"""One offer as everybody may see it, under the names and in the units of `nodes.search.fields`.

What is not known is null. Amounts are decimal strings; an hour and a month are those of `core.money`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core import money
from nodes.market import Offer
from nodes.search.columns import NARROW, THINGS, WIDE, Snapshot
from nodes.search.fields import FIELDS, FLAGS, TEXTS
from nodes.search.finding import value_of
from nodes.search.query import Query

LEAST_MEMORY_MIB = 512
NOTHING: dict[str, Any] = {"node_name": None, **dict.fromkeys(FIELDS)}


def rows_out(snapshot: Snapshot, query: Query, places: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows at these places, for what is asked."""
    if not places:
        return []
    at = list(places)
    columns = {name: snapshot.stored[name][at].tolist() for name in (*WIDE, *NARROW, *THINGS)}
    for name in TEXTS:
        words = snapshot.words[name].words
        columns[name] = [words[number] for number in snapshot.stored[name][at].tolist()]
    table = zip(*columns.values(), strict=True)
    return [row_out(dict(zip(columns, row, strict=True)), query) for row in table]


def offer_out(offer: Offer, query: Query) -> dict[str, Any]:
    """Return one offer as a search for `query` would."""
    names = (*WIDE, *NARROW, *TEXTS, "id")
    facts = {name: getattr(offer, name) for name in names}
    return row_out({**facts, "node__name": offer.node.name}, query)


def row_out(facts: Mapping[str, Any], query: Query) -> dict[str, Any]:
    """Return a row of columns (-1 or None: not known) with what is worked out for the question."""
    known: dict[str, Any] = {
        name: None if value in (-1, None, "") else value for name, value in facts.items()
    }
    row = {**NOTHING, **{name: known[name] for name in known if name in FIELDS}}
    for name in FLAGS:
        row[name] = None if row[name] is None else bool(row[name])
    cards = min(1, known["gpu_total"]) if query.gpus is None else query.gpus
    rate = known["compute_rate"] * query.factor + known["storage_gb_rate"] * query.disk_gb
    hourly = rate * money.SECONDS_PER_HOUR
    row |= {
        "id": str(known["id"]),
        "node_name": known["node__name"],
        "listed": True,
        "gpus": cards,
        "hours": query.hours,
        "compute_hourly": money.decimal_string(known["compute_rate"] * money.SECONDS_PER_HOUR),
        "storage_gb_monthly": money.decimal_string(
            known["storage_gb_rate"] * money.SECONDS_PER_MONTH
        ),
        "price_hourly": money.decimal_string(hourly),
        "price_total": money.decimal_string(hourly * query.hours),
    }
    return row | _yours(known, cards, rate)


def _yours(known: Mapping[str, Any], cards: int, rate: int) -> dict[str, Any]:
    """Return what comes with the cards that are asked for; a machine without cards comes whole."""
    total = known["gpu_total"]
    if not total or not cards:
        return {"cpu_cores_yours": known["cpu_cores"], "memory_mib_yours": known["memory_mib"]}
    vram, gflops = known["vram_mib"], known["gflops"]
    return {
        "cpu_cores_yours": max(1, known["cpu_cores"] * cards // total),
        "memory_mib_yours": max(LEAST_MEMORY_MIB, known["memory_mib"] * cards // total),
        "vram_total_mib": None if vram is None else vram * cards,
        "gpu_share_bp": money.BASIS_POINTS * cards // total,
        "value": None if gflops is None else value_of(gflops, cards, rate) / 1000,
    }
