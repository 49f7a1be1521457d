"""One offer as everybody may see it, under the names and in the units of `nodes.search.fields`.

What is not known is null. Amounts are decimal strings; an hour and a month are those of `core.money`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from core import money
from nodes.market import Offer
from nodes.search.columns import CHANGED, NARROW, THINGS, WIDE, Snapshot
from nodes.search.fields import FIELDS, FLAGS, TEXTS
from nodes.search.finding import value_of
from nodes.search.query import Query

LEAST_MEMORY_MIB = 512
# What comes in and goes out is counted and costs nothing (ADR 25).
NO_PRICE = money.decimal_string(0)
# What depends on what is asked; the rest of a row is the same for everybody.
ASKED = (
    "gpu_total",
    "vram_mib",
    "gflops",
    "cpu_cores",
    "memory_mib",
    "compute_rate",
    "storage_gb_rate",
    "minimum_rate",
)
NOTHING: dict[str, Any] = {"node_name": None, **dict.fromkeys(FIELDS)}
ANSWERS = (
    "gpus", "hours", "price_hourly", "price_total", "cpu_cores_yours", "memory_mib_yours", "vram_total_mib",
    "gpu_share_bp", "value",
)  # fmt: skip
MOST_KEPT = 20_000
# Place -> (version that changed it last, what is the same for everybody, as JSON without its last brace).
Kept = dict[int, tuple[int, bytes]]


def rows_out(snapshot: Snapshot, query: Query, places: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows at these places, for what is asked."""
    return [fixed_out(facts) | asked_out(facts, query) for facts in _facts(snapshot, places)]


def rows_json(snapshot: Snapshot, query: Query, places: Sequence[int], kept: Kept) -> bytes:
    """Return the same as JSON; what does not depend on what is asked is kept for the next time."""
    if not places:
        return b"[]"
    at = list(places)
    fixed = _fixed(snapshot, at, kept)
    columns = (snapshot.stored[name][at].tolist() for name in ASKED)
    asked = (dict(zip(ASKED, values, strict=True)) for values in zip(*columns, strict=True))
    parts = [
        fixed[place] + b"," + msgspec.json.encode(asked_out(facts, query))[1:]
        for place, facts in zip(at, asked, strict=True)
    ]
    return b"[" + b",".join(parts) + b"]"


def offer_out(offer: Offer, query: Query) -> dict[str, Any]:
    """Return one offer as a search for `query` would."""
    facts = {name: getattr(offer, name) for name in (*WIDE, *NARROW, *TEXTS, "id")}
    facts["node__name"] = offer.node.name
    known = {name: -1 if value is None else value for name, value in facts.items()}
    return fixed_out(known) | asked_out(known, query)


def fixed_out(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a row (-1 and empty: not known) is the same whatever is asked."""
    row = {
        name: None if facts.get(name, -1) in (-1, "") else facts[name]
        for name in NOTHING
        if name not in ANSWERS
    }
    for name in FLAGS:
        row[name] = None if row[name] is None else bool(row[name])
    compute, storage = facts["compute_rate"], facts["storage_gb_rate"]
    minimum = facts["minimum_rate"]
    return row | {
        "id": str(facts["id"]),
        "node_name": facts["node__name"],
        "listed": True,
        "compute_hourly": money.decimal_string(compute * money.SECONDS_PER_HOUR),
        "storage_gb_monthly": money.decimal_string(storage * money.SECONDS_PER_MONTH),
        "minimum_hourly": money.decimal_string(minimum * money.SECONDS_PER_HOUR),
        "down_gb_price": NO_PRICE,
        "up_gb_price": NO_PRICE,
    }


def asked_out(facts: Mapping[str, Any], query: Query) -> dict[str, Any]:
    """Return what of a row is worked out for what is asked; a machine without cards comes whole."""
    total, cores, memory = facts["gpu_total"], facts["cpu_cores"], facts["memory_mib"]
    compute = money.compute_rate(facts["compute_rate"], query.factor, facts["minimum_rate"])
    rate = compute + facts["storage_gb_rate"] * query.disk_gb
    hourly = rate * money.SECONDS_PER_HOUR
    cards = min(1, total) if query.gpus is None else min(query.gpus, total)
    vram, gflops = facts["vram_mib"], facts["gflops"]
    return {
        "gpus": cards,
        "hours": query.hours,
        "price_hourly": money.decimal_string(hourly),
        "price_total": money.decimal_string(hourly * query.hours),
        "cpu_cores_yours": max(1, cores * cards // total) if cards else cores,
        "memory_mib_yours": max(LEAST_MEMORY_MIB, memory * cards // total) if cards else memory,
        "vram_total_mib": vram * cards if cards and vram >= 0 else None,
        "gpu_share_bp": money.BASIS_POINTS * cards // total if cards else None,
        "value": value_of(gflops, cards, rate) / 1000 if cards and gflops >= 0 else None,
    }


def _fixed(snapshot: Snapshot, places: list[int], kept: Kept) -> dict[int, bytes]:
    """Return what is the same for everybody of each of these rows; other threads may do the same meanwhile."""
    if len(kept) > MOST_KEPT:
        kept.clear()
    versions = dict(zip(places, snapshot.stored[CHANGED][places].tolist(), strict=True))
    fixed = {}
    for place, version in versions.items():
        known = kept.get(place)
        if known is not None and known[0] == version:
            fixed[place] = known[1]
    stale = [place for place in places if place not in fixed]
    for place, facts in zip(stale, _facts(snapshot, stale), strict=True):
        fixed[place] = msgspec.json.encode(fixed_out(facts))[:-1]
        kept[place] = versions[place], fixed[place]
    return fixed


def _facts(snapshot: Snapshot, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each of these rows."""
    at = list(places)
    if not at:
        # A snapshot that has never seen an offer has no columns either.
        return
    columns = {name: snapshot.stored[name][at].tolist() for name in (*WIDE, *NARROW, *THINGS)}
    for name in TEXTS:
        words = snapshot.words[name].words
        columns[name] = [words[number] for number in snapshot.stored[name][at].tolist()]
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))
