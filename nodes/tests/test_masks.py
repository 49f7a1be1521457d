"""What is remembered of filters has a bound, whoever asks and however small the market is."""

from __future__ import annotations

import tracemalloc
import weakref
from functools import partial

import numpy as np

from nodes.search.columns import Array, Counts, Masks
from nodes.search.query import MOST_CHARACTERS, parse

MOST_BYTES = 16 * 2**20


def yes() -> Array:
    return np.ones(10, bool)


def test_a_small_market_does_not_keep_all_that_strangers_ask() -> None:
    masks, column = Masks(), np.zeros(1024, np.int32)
    tracemalloc.start()
    for number in range(4000):
        # As many words as one question may name.
        words = [("gpu_model", f"{number:05}-{each:02}-" + "x" * 70) for each in range(44)]
        query = parse([("gpu_model", [word for _, word in words])])
        for each in query.filters:
            masks.of(each, column, 10, yes)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < MOST_BYTES


def test_no_question_takes_more_than_is_reckoned_for_it() -> None:
    masks, column = Masks(), np.zeros(1024, np.int32)
    worst = [chr(0x1F600 + each) + "x" * (MOST_CHARACTERS // 50 - 10) for each in range(49)]
    tracemalloc.start()
    for each in parse([("gpu_model", [word + "." for word in worst])]).filters:
        masks.of(each, column, 10, yes)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 12_000 < held < Masks.QUESTION_BYTES


def test_what_was_said_of_a_column_that_changed_is_let_go_of_with_the_column() -> None:
    masks, old, other = Masks(), np.zeros(1024, np.int32), np.zeros(1024, np.int32)
    gone = weakref.ref(old)
    first = masks.of(("disk_gb", 1), old, 10, yes)
    kept = masks.of(("cpu_cores", 1), other, 10, yes)
    assert masks.of(("disk_gb", 1), old, 10, yes) is first
    del old
    assert gone() is not None
    masks.of(("disk_gb", 2), np.zeros(1024, np.int32), 10, yes)
    assert gone() is None
    assert masks.of(("cpu_cores", 1), other, 10, yes) is kept
    assert masks.of(("cpu_cores", 1), other, 11, yes) is not kept


def test_of_what_was_counted_the_last_few_hundred_are_kept() -> None:
    counts = Counts()
    made: list[int] = []

    def counted(number: int) -> int:
        made.append(number)
        return number

    for number in (*range(Counts.MOST), 0, Counts.MOST, 0):
        assert counts.of(number, partial(counted, number)) == number
    # The one too many made room for itself, and 0 was counted anew.
    assert made == [*range(Counts.MOST), Counts.MOST, 0]
