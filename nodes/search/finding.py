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
# So many words are compared one by one faster than they are looked up.
FEW_WORDS = 4


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


def count_without(snapshot: Snapshot, query: Query) -> list[tuple[str, int]]:
    """Return for the cards, the disk and each filter of a question that nothing fits how much would without it."""
    if not snapshot.size:
        return []
    counts = {
        name: int(np.count_nonzero(_mask(snapshot, less, less.filters)))
        for name in ("gpus", "disk_gb")
        if (less := query.without(name)) != query
    }
    fits = [_fits(snapshot, query, each) for each in query.filters]
    # Whoever misses one filter alone would fit without it.
    none, one = _mask(snapshot, query, []), np.zeros(snapshot.size, bool)
    for fit in fits:
        one &= fit
        one |= none & ~fit
        none &= fit
    for each, fit in zip(query.filters, fits, strict=True):
        counts[each.name] = int(np.count_nonzero(one & ~fit))
    return sorted(((name, n) for name, n in counts.items() if n), key=lambda each: (-each[1], each))


def rank_of(snapshot: Snapshot, query: Query, number: int) -> tuple[int, int]:
    """Return the place (0: none) of the offer with this number among those that fit, and how many they are."""
    if not snapshot.size:
        return 0, 0
    rows = np.flatnonzero(_mask(snapshot, query, query.filters))
    keys = _keys(snapshot, query, rows)
    mine = keys[snapshot["number"][rows] == number]
    return (int((keys <= mine[0]).sum()) if len(mine) else 0), len(rows)


def price_of(snapshot: Snapshot, query: Query, rows: Array | slice) -> Array:
    """Return the all-in rate (nano/s) of rows for the cards and the disk that are asked for."""
    compute, storage = snapshot["compute_rate"][rows], snapshot["storage_gb_rate"][rows]
    rate: Array = np.maximum(compute * query.factor, snapshot["minimum_rate"][rows])
    rate += storage * query.disk_gb
    return rate


def value_of(gflops: int, factor: int, rate: int) -> int:
    """Return GFLOPS for a price of one unit an hour: what `Sort.VALUE` orders by, rounded down."""
    value = gflops * factor * money.NANO // max(rate * money.SECONDS_PER_HOUR, 1)
    return value if value < BEST else BEST


def _mask(snapshot: Snapshot, query: Query, filters: list[Filter] | tuple[Filter, ...]) -> Array:
    """Return which rows can start now at the size asked for, and satisfy the filters."""
    room = snapshot.masks.of(
        (ROOM, query.gpus), snapshot.stored[ROOM], snapshot.size, lambda: _room(snapshot, query)
    )
    mask: Array = room & (snapshot["disk_gb"] >= query.disk_gb)
    for each in filters:
        mask &= _fits(snapshot, query, each)
    return mask


def _room(snapshot: Snapshot, query: Query) -> Array:
    room = snapshot[ROOM]
    fit: Array = room == 0 if query.gpus == 0 else room >= (query.gpus or 0)
    return fit


def _fits(snapshot: Snapshot, query: Query, each: Filter) -> Array:
    """Return which rows satisfy one filter. Nothing is satisfied by what is not known: -1, and the empty word."""
    if isinstance(each, Bounds) and each.name == "price_hourly":
        return _within(price_of(snapshot, query, slice(None)), each)
    stored = snapshot.stored[each.name]
    return snapshot.masks.of(each, stored, snapshot.size, lambda: _compared(snapshot, each))


def _compared(snapshot: Snapshot, each: Filter) -> Array:
    """Return which rows satisfy one filter that compares a stored column."""
    column = snapshot[each.name]
    if isinstance(each, WordFilter):
        return _words_fit(snapshot, each, column)
    if isinstance(each, Flag):
        fit: Array = column == each.on
        return fit
    return _within(column, each)


def _within(column: Array, each: Bounds) -> Array:
    fit: Array = column >= each.low
    if each.high <= np.iinfo(column.dtype).max:
        fit &= column <= each.high
    return fit


def _words_fit(snapshot: Snapshot, each: WordFilter, numbers: Array) -> Array:
    """Return for each of these words' numbers whether the filter lets it through."""
    known: Words = snapshot.words[each.name]
    table = np.zeros(len(known), bool) if each.wanted else np.ones(len(known), bool)
    table[known.known(each.wanted)] = True
    table[known.known({*each.unwanted, ""})] = False
    yes, no = np.flatnonzero(table), np.flatnonzero(~table)
    few = yes if len(yes) <= len(no) else no
    if len(few) > FEW_WORDS:
        among: Array = table[numbers]
        return among
    fit = np.zeros(len(numbers), bool)
    for number in few:
        fit |= numbers == number
    return fit if few is yes else ~fit


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
    keys = _keys(snapshot, query, rows)
    if query.after >= 0:
        keys = keys[keys > query.after]
    more = len(keys) > query.limit
    if more:
        keys = np.partition(keys, query.limit - 1)[: query.limit]
    keys.sort()
    places = snapshot.places
    page = [places[key & (MOST_OFFERS - 1)] for key in keys.tolist()]
    return page, int(keys[-1]) if more else None


def _keys(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    keys: Array = (_sort_values(snapshot, query, rows) << NUMBER_BITS) | snapshot["number"][rows]
    return keys


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
