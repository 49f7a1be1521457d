"""The answer to one question over one snapshot: which rows, in which order, how many, of which kinds. Pure.

A row's sort value (37 bits) and its offer's number (26 bits) are packed into one whole number, so that ties have
one order and the place where a page ends is one number, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core import money
from nodes.market import MOST_OFFERS
from nodes.search.columns import COMBINATION, ROOM, Array, Snapshot, Words
from nodes.search.fields import FACETS
from nodes.search.query import Bounds, Filter, Flag, Query, Sort
from nodes.search.query import Words as WordFilter

NUMBER_BITS = MOST_OFFERS.bit_length() - 1
# The sort value of what is not known, behind all others; a greater one counts as the greatest known.
UNKNOWN = 2 ** (63 - NUMBER_BITS) - 1
BEST = UNKNOWN - 1


@dataclass(frozen=True)
class Found:
    """What fits: how many, how many of each facet's words (each counted without its own filter), and a page of rows.

    `rows` are places in the snapshot; `more` is the sort key of the last of them when others follow.
    """

    total: int
    facets: Mapping[str, list[tuple[str, int]]]
    rows: list[int]
    more: int | None


def find(snapshot: Snapshot, query: Query) -> Found:
    """Return what fits, counted and a page long."""
    if not snapshot.size:
        return Found(0, {name: [] for name in FACETS}, [], None)
    # Facets are texts, and each filters by words.
    words = [e for e in query.filters if isinstance(e, WordFilter) and e.name in FACETS]
    rest = [each for each in query.filters if each.name not in FACETS]
    rows = np.flatnonzero(_mask(snapshot, query, rest))
    combination = snapshot[COMBINATION][rows]
    counts = np.bincount(combination, minlength=len(snapshot.facets[FACETS[0]]))
    fits = {each.name: _words_fit(snapshot, each, snapshot.facets[each.name]) for each in words}
    allowed = _all(fits, len(counts))
    if words:
        rows = rows[allowed[combination]]
    page, more = _page(snapshot, query, rows)
    facets = {
        name: _facet(snapshot, name, np.where(_all(fits, len(counts), but=name), counts, 0))
        for name in FACETS
    }
    return Found(len(rows), facets, page, more)


def count_fitting(snapshot: Snapshot, query: Query) -> int:
    """Return only how many fit."""
    return int(_mask(snapshot, query, query.filters).sum()) if snapshot.size else 0


def price_of(snapshot: Snapshot, query: Query, rows: Array | slice) -> Array:
    """Return the all-in rate (nano/s) of rows for the cards and the disk that are asked for."""
    compute, storage = snapshot["compute_rate"][rows], snapshot["storage_gb_rate"][rows]
    rate: Array = compute * query.factor + storage * query.disk_gb
    return rate


def value_of(gflops: int, factor: int, rate: int) -> int:
    """Return GFLOPS for a price of one unit an hour: what `Sort.VALUE` orders by, rounded down."""
    value = gflops * factor * money.NANO // max(rate * money.SECONDS_PER_HOUR, 1)
    return value if value < BEST else BEST


def _mask(snapshot: Snapshot, query: Query, filters: list[Filter] | tuple[Filter, ...]) -> Array:
    """Return which rows can start now at the size asked for, and satisfy the filters."""
    room = snapshot[ROOM]
    mask: Array = room == 0 if query.gpus == 0 else room >= (query.gpus or 0)
    mask &= snapshot["disk_gb"] >= query.disk_gb
    for each in filters:
        if isinstance(each, Bounds):
            _bound(snapshot, query, each, mask)
        elif isinstance(each, Flag):
            mask &= snapshot[each.name] == each.on
        else:
            column = snapshot[each.name]
            mask &= _words_fit(snapshot, each, np.arange(_words(snapshot, each.name)))[column]
    return mask


def _bound(snapshot: Snapshot, query: Query, bounds: Bounds, mask: Array) -> None:
    priced = bounds.name == "price_hourly"
    column = price_of(snapshot, query, slice(None)) if priced else snapshot[bounds.name]
    # Not even a bound of 0 is satisfied by what is not known, which is -1.
    mask &= column >= bounds.low
    if bounds.high <= np.iinfo(column.dtype).max:
        mask &= column <= bounds.high


def _words(snapshot: Snapshot, name: str) -> int:
    return len(snapshot.words[name])


def _words_fit(snapshot: Snapshot, each: WordFilter, numbers: Array) -> Array:
    """Return for each of these words' numbers whether the filter lets it through; the empty word is not known."""
    known: Words = snapshot.words[each.name]
    table = np.zeros(len(known), bool) if each.wanted else np.ones(len(known), bool)
    table[known.known(each.wanted)] = True
    table[known.known({*each.unwanted, ""})] = False
    return table[numbers]


def _all(fits: Mapping[str, Array], size: int, but: str = "") -> Array:
    together = np.ones(size, bool)
    for name, fit in fits.items():
        if name != but:
            together &= fit
    return together


def _facet(snapshot: Snapshot, name: str, counts: Array) -> list[tuple[str, int]]:
    """Return (word, how many rows) of one facet, most first; the empty word stands for what is not known."""
    by_word = np.bincount(snapshot.facets[name], weights=counts).astype(np.int64)
    words = snapshot.words[name].words
    found = [(words[number], int(by_word[number])) for number in np.flatnonzero(by_word)]
    return sorted(found, key=lambda each: (-each[1], each[0]))


def _page(snapshot: Snapshot, query: Query, rows: Array) -> tuple[list[int], int | None]:
    keys = (_sort_values(snapshot, query, rows) << NUMBER_BITS) | snapshot["number"][rows]
    if query.after >= 0:
        keys = keys[keys > query.after]
    more = len(keys) > query.limit
    if more:
        keys = np.partition(keys, query.limit - 1)[: query.limit]
    keys.sort()
    places = snapshot.places
    page = [places[key & (MOST_OFFERS - 1)] for key in keys.tolist()]
    return page, int(keys[-1]) if more else None


def _sort_values(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    """Return what orders the rows, from 0 for what comes first to UNKNOWN."""
    values: Array
    if query.sort is Sort.READY:
        known = snapshot["ready_seconds"][rows].astype(np.int64)
        values = np.where(known < 0, UNKNOWN, known)
    elif query.sort is Sort.RELIABILITY:
        known = snapshot["reliability_bp"][rows].astype(np.int64)
        values = np.where(known < 0, UNKNOWN, money.BASIS_POINTS - known)
    elif query.sort is Sort.PRICE:
        values = np.minimum(price_of(snapshot, query, rows), BEST)
    else:
        gflops = snapshot["gflops"][rows].astype(np.int64)
        hourly = price_of(snapshot, query, rows) * money.SECONDS_PER_HOUR
        value = gflops * (query.factor * money.NANO) // np.maximum(hourly, 1)
        values = np.where(gflops < 0, UNKNOWN, BEST - np.minimum(value, BEST))
    return values
