"""All offers as columns of numbers in the memory of one process. Pure; `nodes.search.board` fills it.

What is not known is -1, a text is the number of its word. A snapshot never changes: whoever applies changes gets
another one that shares every column in which nothing has changed, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.search.fields import FACETS, FLAGS, NUMBERS, TEXTS

Array = NDArray[Any]
NARROW = ("disk_gb", *NUMBERS, *FLAGS)
PRICES = ("compute_rate", "storage_gb_rate", "minimum_rate")
WIDE = ("number", *PRICES)
THINGS = ("id", "node__name")
# What a row is made of, in the order in which `applied` expects its values.
ROW = (*WIDE, *NARROW, *TEXTS, *THINGS, "listed")
# Worked out from a row: how many cards can start on it now (0: the machine, whole; -1: nothing) and the number of
# the combination of its facets.
ROOM, COMBINATION = "room", "combination"
# The version of the snapshot that brought the row as it is.
CHANGED = "changed"
_versions = count(1)


class Words:
    """Words numbered from 0 in the order in which they were met; one is never forgotten, nor renumbered."""

    def __init__(self) -> None:
        self.words: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self.words)

    def number(self, word: Any) -> int:
        """Return the number of a word, a new one for a new word."""
        number = self._numbers.get(word)
        if number is None:
            # The word is there before its number is, for readers who hold no lock.
            self.words.append(word)
            number = self._numbers[word] = len(self.words) - 1
        return number

    def known(self, words: Iterable[str]) -> list[int]:
        """Return the numbers of those words that have been met."""
        return [self._numbers[word] for word in words if word in self._numbers]


class Masks:
    """Which rows satisfy a filter, one bit a row: remembered while the filter's column stays as it is.

    People ask for few values, and to join two masks costs a microsecond.
    """

    # Some hundreds of masks over a million cards.
    MOST_BYTES = 32 * 2**20
    # More than one question's words can take. They are a stranger's own, and in a small market most of what is kept.
    QUESTION_BYTES = 24 * 2**10

    def __init__(self) -> None:
        # Of each column's name the column as it is, how many rows of it, and the masks: none outlives its column.
        self._kept: dict[str, tuple[Array, int, dict[Any, Array]]] = {}

    def of(self, asked: Any, column: Array, size: int, make: Callable[[], Array]) -> Array:
        """Return, packed, what `make` says of the first `size` rows of the column `asked[0]`; not to be written to.

        A column in which anything changes is another array, and rows are added behind `size`. Several threads
        may do this at once.
        """
        kept = self._kept.get(asked[0])
        if kept is None or kept[0] is not column or kept[1] != size:
            kept = self._kept[asked[0]] = column, size, {}
        bits = kept[2].get(asked)
        if bits is None:
            bits = packed(make())
            bits.flags.writeable = False
            if self._bytes(bits) > self.MOST_BYTES:
                kept = column, size, {}
                self._kept = {asked[0]: kept}
            kept[2][asked] = bits
        return bits

    def _bytes(self, more: Array) -> int:
        """Return the most that everything kept and one more mask can take."""
        each = [
            len(masks) * (size // 8 + self.QUESTION_BYTES)
            for _, size, masks in list(self._kept.values())
        ]
        return sum(each) + more.nbytes + self.QUESTION_BYTES


class Counts:
    """What was counted of everything that fits: remembered while nothing changes but prices.

    Prices change most, and only who asks for them has other counts after that.
    """

    # A few MB, and some tens where a market has hundreds of models and places.
    MOST = 500

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def of(self, asked: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` counts for this; not to be written to. Several threads may do this at once."""
        known = self._kept.get(asked)
        if known is None:
            if len(self._kept) >= self.MOST:
                self._kept = {}
            known = self._kept[asked] = make()
        return known


def packed(mask: Array) -> Array:
    """Return a mask with one bit a row, in words of 64."""
    bits = np.zeros(-(-len(mask) // 64), np.uint64)
    filled = np.packbits(mask)
    bits.view(np.uint8)[: len(filled)] = filled
    return bits


def rows_of(bits: Array, size: int) -> Array:
    """Return the places of the first `size` that a packed mask lets through, in their order."""
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), count=size).view(bool))


def count_of(bits: Array) -> int:
    """Return how many rows a packed mask lets through."""
    return int(np.bitwise_count(bits).sum())


@dataclass(frozen=True)
class Snapshot:
    """The first `size` places of each column; what lies behind belongs to a later snapshot."""

    size: int = 0
    version: int = 0
    stored: Mapping[str, Array] = field(default_factory=dict)
    words: Mapping[str, Words] = field(default_factory=lambda: {name: Words() for name in TEXTS})
    combinations: Words = field(default_factory=Words)
    # Facet -> the number of its word in each combination.
    facets: Mapping[str, Array] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)
    counts: Counts = field(default_factory=Counts)

    def __getitem__(self, name: str) -> Array:
        return self.stored[name][: self.size]

    def applied(self, rows: Sequence[Sequence[Any]]) -> Snapshot:
        """Return the snapshot after these rows (values as in `ROW`); itself when they bring nothing new.

        Only one caller at a time may do this.
        """
        if not rows:
            return self
        fresh = self._columns(rows)
        old = np.array([self.places.get(number, -1) for number in fresh["number"].tolist()])
        added = int((old < 0).sum())
        stored = {name: self._stored(name, values, old, added) for name, values in fresh.items()}
        changed = {name for name in stored if stored[name] is not self.stored.get(name)}
        if not added and not changed:
            return self
        version = next(_versions)
        stamps = np.full(len(rows), version, np.int64)
        stored[CHANGED] = self._stored(CHANGED, stamps, old, added)
        for place, number in enumerate(fresh["number"][old < 0].tolist(), start=self.size):
            self.places[number] = place
        facets = self.facets
        if not facets or len(self.combinations) != len(facets[FACETS[0]]):
            table = np.array(self.combinations.words, np.int32)
            facets = {name: table[:, i].copy() for i, name in enumerate(FACETS)}
        return Snapshot(
            size=self.size + added, version=version, stored=stored, words=self.words,
            combinations=self.combinations, facets=facets, places=self.places,
            masks=self.masks, counts=Counts() if added or changed - {*PRICES} else self.counts,
        )  # fmt: skip

    def _columns(self, rows: Sequence[Sequence[Any]]) -> dict[str, Array]:
        values = dict(zip(ROW, zip(*rows, strict=True), strict=True))
        columns = {name: np.array(values[name], np.int64) for name in WIDE}
        for name in NARROW:
            known = [-1 if value is None else value for value in values[name]]
            columns[name] = np.array(known, np.int32)
        for name in TEXTS:
            number = self.words[name].number
            columns[name] = np.array([number(word) for word in values[name]], np.int32)
        for name in THINGS:
            columns[name] = np.array(values[name], object)
        listed = np.array(values["listed"], bool)
        free, total = columns["gpu_free"], columns["gpu_total"]
        room = np.where(total == 0, 0, np.where(free > 0, free, -1))
        columns[ROOM] = np.where(listed, room, -1).astype(np.int32)
        number = self.combinations.number
        facets = zip(*(columns[name].tolist() for name in FACETS), strict=True)
        columns[COMBINATION] = np.array([number(each) for each in facets], np.intp)
        return columns

    def _stored(self, name: str, values: Array, old: Array, added: int) -> Array:
        """Return the column with these values at their old places and new ones behind the last."""
        column = self.stored.get(name)
        known = old >= 0
        if column is None or self.size + added > len(column):
            grown = np.empty(max(1024, (self.size + added) * 5 // 4), values.dtype)
            if column is not None:
                grown[: self.size] = column[: self.size]
                grown[old[known]] = values[known]
            column = grown
        elif known.any() and (column[old[known]] != values[known]).any():
            column = column.copy()
            column[old[known]] = values[known]
        if added:
            column[self.size : self.size + added] = values[~known]
        return column

    @property
    def words_held(self) -> int:
        """How many words are remembered, of which some may be of no row any more."""
        return sum(len(words) for words in self.words.values()) + len(self.combinations)
