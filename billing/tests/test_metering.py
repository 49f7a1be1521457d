"""How what was given back of a posting is spread over its seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.metering import Given, given_behind

RATE = 7


@pytest.mark.parametrize(
    ("rows", "end", "behind"),
    [
        ([], 5, []),
        ([Given(70, 10, 20)], 10, [70]),
        ([Given(70, 10, 20)], 15, [35]),
        ([Given(70, 10, 20)], 20, [0]),
        # A credit of half of the price is spread evenly.
        ([Given(35, 10, 20)], 15, [17]),
        # The second has what the first left of their seconds.
        ([Given(70, 10, 20), Given(70, 0, 20)], 10, [70, 0]),
        ([Given(70, 0, 10), Given(70, 0, 20)], 10, [0, 70]),
        ([Given(70, 0, 10), Given(70, 0, 20)], 15, [0, 35]),
        # Nothing is left of it, and its seconds are gone.
        ([Given(0, 20, 20)], 15, [0]),
    ],
)
def test_a_credit_lies_on_its_seconds(rows: list[Given], end: int, behind: list[int]) -> None:
    assert given_behind(rows, rate=RATE, end=end) == behind


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(0, 100)), max_size=5),
    st.integers(0, 60),
)
def test_what_lies_behind_an_end_is_no_more_than_its_seconds_cost(
    drawn: list[tuple[int, int, int]], end: int
) -> None:
    rows: list[Given] = []
    for since, length, percent in drawn:
        until = since + length
        # As the ledger gives: of these seconds, less all that was given for any of them.
        here = sum(row.amount for row in rows if row.since < until and row.until > since)
        rows.append(Given(max(0, RATE * length - here) * percent // 100, since, until))
    found = given_behind(rows, rate=RATE, end=end)
    assert all(0 <= part <= row.amount for row, part in zip(rows, found, strict=True))
    last = max((row.until for row in rows), default=0)
    assert sum(found) <= RATE * max(0, last - end)
    kept = sum(row.amount for row in rows) - sum(found)
    # Each row is rounded down, so each may keep a part of a nano-unit.
    assert kept <= RATE * end + len(rows)
    assert given_behind(rows, rate=RATE, end=0) == [row.amount for row in rows]
