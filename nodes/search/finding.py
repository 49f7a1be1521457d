"""The answer to one question over one snapshot: which rows, in which order, how many, of which kinds. Pure.

A row's sort value (37 bits) and its offer's number (26 bits) are packed into one whole number, so that ties have
one order and the place where a page ends is one number, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core import money
from nodes.market import MOST_OFFERS
from nodes.search.columns import (
    COMBINATION,
    ROOM,
    Array,
    Snapshot,
    Words,
    count_of,
    packed,
    rows_of,
)
from nodes.search.fields import FACETS
from nodes.search.query import LARGEST, PRICE, Bounds, Filter, Flag, Query, Sort
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
    if query.priced:
        rows, facets = _counted(snapshot, query)
    else:
        asked = "facets", query.subject
        facets = snapshot.counts.of(asked, lambda: _counted(snapshot, query)[1])
        rows = _rows(snapshot, query, query.filters)
    page, more = _page(snapshot, query, rows)
    return Found(len(rows), facets, page, more)


def count_without(snapshot: Snapshot, query: Query) -> list[tuple[str, int]]:
    """Return for the cards, the disk and each filter of a question that nothing fits how much would without it."""
    if not snapshot.size:
        return []
    if query.priced:
        return _without(snapshot, query)
    known: list[tuple[str, int]] = snapshot.counts.of(
        ("without", query.subject), lambda: _without(snapshot, query)
    )
    return known


def rank_of(snapshot: Snapshot, query: Query, number: int) -> tuple[int, int]:
    """Return the place (0: none) of the offer with this number among those that fit, and how many they are."""
    if not snapshot.size:
        return 0, 0
    rows = _rows(snapshot, query, query.filters)
    keys = _keys(snapshot, query, rows)
    mine = keys[snapshot["number"][rows] == number]
    return (int((keys <= mine[0]).sum()) if len(mine) else 0), len(rows)


def price_of(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    """Return the all-in rate (nano/s) of rows for the cards and the disk that are asked for."""
    rate: Array = snapshot["compute_rate"].take(rows)
    # In place: pages of memory that the system gives anew each time cost more than the arithmetic.
    rate *= query.factor
    np.maximum(rate, snapshot["minimum_rate"].take(rows), out=rate)
    storage = snapshot["storage_gb_rate"].take(rows)
    storage *= query.disk_gb
    rate += storage
    return rate


def value_of(gflops: int, factor: int, rate: int) -> int:
    """Return GFLOPS for a price of one unit an hour: what `Sort.VALUE` orders by, rounded down."""
    value = gflops * factor * money.NANO // max(rate * money.SECONDS_PER_HOUR, 1)
    return value if value < BEST else BEST


def _counted(snapshot: Snapshot, query: Query) -> tuple[Array, Mapping[str, list[tuple[str, int]]]]:
    """Return the places of what fits, and how many of each facet's words."""
    # Facets are texts, and each filters by words.
    words = [e for e in query.filters if isinstance(e, WordFilter) and e.name in FACETS]
    rest = [each for each in query.filters if each.name not in FACETS]
    rows = _rows(snapshot, query, rest)
    combination = snapshot[COMBINATION].take(rows)
    counts = np.bincount(combination, minlength=len(snapshot.facets[FACETS[0]]))
    fits = {each.name: _words_fit(snapshot, each, snapshot.facets[each.name]) for each in words}
    allowed = _all(fits, len(counts))
    if words:
        rows = rows[allowed[combination]]
    facets = {
        name: _facet(snapshot, name, np.where(_all(fits, len(counts), but=name), counts, 0))
        for name in FACETS
    }
    return rows, facets


def _without(snapshot: Snapshot, query: Query) -> list[tuple[str, int]]:
    counts = {
        name: _count(snapshot, less)
        for name in ("gpus", "disk_gb", PRICE)
        if (less := query.without(name)) != query
    }
    stored = [each for each in query.filters if each.name != PRICE]
    fits = [_fits(snapshot, each) for each in stored]
    # Whoever misses one filter alone would fit without it.
    none = _can_start(snapshot, query)
    one = np.zeros_like(none)
    for fit in fits:
        one = one & fit | none & ~fit
        none = none & fit
    if query.priced:
        rows = _affordable(snapshot, query, query.filters, rows_of(one, snapshot.size))
        among = np.zeros(snapshot.size, bool)
        among[rows] = True
        one = packed(among)
    for each, fit in zip(stored, fits, strict=True):
        counts[each.name] = count_of(one & ~fit)
    return sorted(((name, n) for name, n in counts.items() if n), key=lambda each: (-each[1], each))


def _rows(snapshot: Snapshot, query: Query, filters: Sequence[Filter]) -> Array:
    """Return the places of what can start now at the size asked for, and satisfies the filters."""
    rows = rows_of(_stored(snapshot, query, filters), snapshot.size)
    return _affordable(snapshot, query, filters, rows)


def _count(snapshot: Snapshot, query: Query) -> int:
    """Return how much fits."""
    if any(each.name == PRICE for each in query.filters):
        return len(_rows(snapshot, query, query.filters))
    return count_of(_stored(snapshot, query, query.filters))


def _stored(snapshot: Snapshot, query: Query, filters: Sequence[Filter]) -> Array:
    """Return, packed, which rows can start now and satisfy those filters that compare a stored column."""
    bits = _can_start(snapshot, query)
    for each in filters:
        if each.name != PRICE:
            bits = bits & _fits(snapshot, each)
    return bits


def _can_start(snapshot: Snapshot, query: Query) -> Array:
    """Return, packed, which rows can start now at the size asked for."""
    room = snapshot.masks.of(
        (ROOM, query.gpus), snapshot.stored[ROOM], snapshot.size, lambda: _room(snapshot, query)
    )
    enough: Array = room & _fits(snapshot, Bounds("disk_gb", query.disk_gb, LARGEST))
    return enough


def _room(snapshot: Snapshot, query: Query) -> Array:
    room = snapshot[ROOM]
    fit: Array = room == 0 if query.gpus == 0 else room >= (query.gpus or 0)
    return fit


def _affordable(snapshot: Snapshot, query: Query, filters: Sequence[Filter], rows: Array) -> Array:
    """Return which of these rows satisfy the filters of the price, which no column holds."""
    for each in filters:
        if isinstance(each, Bounds) and each.name == PRICE:
            rows = rows[_within(price_of(snapshot, query, rows), each)]
    return rows


def _fits(snapshot: Snapshot, each: Filter) -> Array:
    """Return, packed, which rows satisfy one filter; none does by what is not known: -1, and the empty word."""
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
    more = query.after < 0 and len(rows) > query.limit
    if more:
        rows = rows[_first(snapshot, query, rows)]
    keys = _keys(snapshot, query, rows)
    if query.after >= 0:
        later = keys > query.after
        rows, keys = rows[later], keys[later]
        more = len(keys) > query.limit
    if len(keys) > query.limit:
        best = keys <= np.partition(keys, query.limit - 1)[query.limit - 1]
        rows, keys = rows[best], keys[best]
    order = np.argsort(keys)
    return rows[order].tolist(), int(keys[order[-1]]) if more else None


def _first(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    """Return which of more rows than a page holds may be on it, by a rough order that is quick to tell.

    What ties with the last row of the page is there, too: `_keys` tells who comes first.
    """
    rough: Array
    margin = 0
    if query.sort is Sort.READY:
        # Without a sign, -1 comes last.
        rough = snapshot["ready_seconds"].take(rows).view(np.uint32)
    elif query.sort is Sort.RELIABILITY:
        rough = -snapshot["reliability_bp"].take(rows)
    elif query.sort is Sort.PRICE:
        rough = np.minimum(price_of(snapshot, query, rows), BEST)
    else:
        # Not rounded, as whole numbers are divided slowly: what is equal after rounding differs by less than one.
        rough, margin = -_quotients(snapshot, query, rows), 2
    last = np.partition(rough, query.limit - 1)[query.limit - 1]
    among: Array = rough <= last + margin
    return among


def _quotients(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    """Return what `value_of` rounds down, and less than anything for what is not known."""
    gflops = snapshot["gflops"].take(rows)
    quotients: Array = gflops * (query.factor * money.NANO / money.SECONDS_PER_HOUR)
    quotients /= np.maximum(price_of(snapshot, query, rows), 1 / money.SECONDS_PER_HOUR)
    np.minimum(quotients, BEST, out=quotients)
    quotients[gflops < 0] = -np.inf
    return quotients


def _keys(snapshot: Snapshot, query: Query, rows: Array) -> Array:
    keys: Array = (_sort_values(snapshot, query, rows) << NUMBER_BITS) | snapshot["number"].take(
        rows
    )
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
