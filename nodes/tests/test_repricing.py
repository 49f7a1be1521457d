"""The formula of smart pricing, whatever it is fed: bounds, direction, rest, and where it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.repricing import (
    BAND_BP,
    BASIS,
    LEAST_STEP_BP,
    MOST_STEP_BP,
    PERIOD_SECONDS,
    SENTENCES,
    TURN_SECONDS,
    WINDOW_SECONDS,
    Course,
    Next,
    Seen,
    Why,
    Wishes,
    next_price,
)

CENT = 2778  # 0.01 an hour
RATES = st.integers(1, 2**40)
PARTS = st.integers(0, BASIS)


@st.composite
def wishes_of_hosts(draw: st.DrawFn) -> Wishes:
    floor, ceiling = sorted((draw(RATES), draw(RATES)))
    return Wishes(floor, ceiling, draw(st.integers(1000, 9500)))


COURSES = st.builds(
    Course,
    rate=RATES,
    direction=st.sampled_from([-1, 0, 1]),
    pace_bp=st.integers(LEAST_STEP_BP, MOST_STEP_BP),
    since=st.none() | st.integers(0, 3 * TURN_SECONDS),
)


def rented(part_bp: int, cards: int = 1) -> Seen:
    """Return a whole day of which this part was rented."""
    heard = WINDOW_SECONDS * cards
    return Seen(-(-heard * part_bp // BASIS), heard, cards)


SEEN = st.builds(
    Seen,
    rented=st.integers(0, 10**9),
    heard=st.integers(0, 10**9),
    cards=st.integers(0, 64),
    offered=st.booleans(),
)


@given(wishes_of_hosts(), COURSES, SEEN)
def test_no_price_is_ever_outside_of_floor_and_ceiling(
    wishes: Wishes, course: Course, seen: Seen
) -> None:
    after = next_price(wishes, course, seen)
    assert wishes.floor <= after.rate <= wishes.ceiling
    assert LEAST_STEP_BP <= after.pace_bp <= MOST_STEP_BP


@given(wishes_of_hosts(), COURSES, SEEN)
def test_no_step_is_greater_than_five_percent_or_the_least_there_is(
    wishes: Wishes, course: Course, seen: Seen
) -> None:
    after = next_price(wishes, course, seen)
    if after.why is not Why.BOUNDED:
        assert abs(after.rate - course.rate) <= max(1, course.rate * MOST_STEP_BP // BASIS)


@given(wishes_of_hosts(), COURSES, PARTS, PARTS)
def test_the_more_is_rented_the_higher_is_the_next_price(
    wishes: Wishes, course: Course, one: int, other: int
) -> None:
    less, more = sorted((one, other))
    assert (
        next_price(wishes, course, rented(less)).rate
        <= next_price(wishes, course, rented(more)).rate
    )


@given(wishes_of_hosts(), COURSES, st.integers(-BAND_BP, BAND_BP))
def test_at_the_target_and_near_it_nothing_changes(
    wishes: Wishes, course: Course, off: int
) -> None:
    part = wishes.target_bp + off
    inside = Course(wishes.floor, course.direction, course.pace_bp, course.since)
    if 0 <= part <= BASIS:
        after = next_price(wishes, inside, rented(part))
        assert after == Next(wishes.floor, Why.FITS, 0, course.direction, course.pace_bp)


@given(wishes_of_hosts(), COURSES, SEEN, st.integers(0, PERIOD_SECONDS - 1))
def test_a_second_look_within_the_period_changes_nothing(
    wishes: Wishes, course: Course, seen: Seen, later: int
) -> None:
    first = next_price(wishes, course, seen)
    moved = Course(first.rate, first.direction, first.pace_bp, later)
    again = next_price(wishes, moved, seen)
    assert (again.rate, again.direction, again.pace_bp) == (
        first.rate,
        first.direction,
        first.pace_bp,
    )


@given(wishes_of_hosts(), COURSES)
def test_where_little_was_heard_or_nothing_offered_the_price_stays(
    wishes: Wishes, course: Course
) -> None:
    inside = Course(wishes.ceiling, course.direction, course.pace_bp, course.since)
    silent = Seen(0, WINDOW_SECONDS // 2 - 1, 1)
    assert next_price(wishes, inside, silent).why is Why.UNKNOWN
    assert next_price(wishes, inside, Seen(0, WINDOW_SECONDS, 1, offered=False)).why is Why.AWAY
    assert next_price(wishes, inside, Seen(0, 0, 0)).why is Why.UNKNOWN


def run(wishes: Wishes, rate: int, demand: object, steps: int) -> list[Next]:
    """Let the clock come every twelve hours to a machine of whose day a part is rented that depends on its price."""
    course, told, since = Course(rate), [], 0
    for _ in range(steps):
        part = demand(course.rate)  # type: ignore[operator]
        after = next_price(wishes, course, rented(part))
        told.append(after)
        stepped = after.direction and after.rate != course.rate
        since = PERIOD_SECONDS if stepped else since + PERIOD_SECONDS
        course = Course(after.rate, after.direction, after.pace_bp, since)
    return told


def test_a_machine_that_is_always_taken_goes_to_its_ceiling_and_an_empty_one_to_its_floor() -> None:
    wishes = Wishes(20 * CENT, 80 * CENT, 8000)
    up = run(wishes, 40 * CENT, lambda _: BASIS, 40)
    down = run(wishes, 40 * CENT, lambda _: 0, 40)
    assert (up[-1].rate, up[-1].why) == (80 * CENT, Why.CEILING)
    assert (down[-1].rate, down[-1].why) == (20 * CENT, Why.FLOOR)


@given(
    st.integers(21, 79), st.integers(21, 79), st.integers(20, 90), st.integers(0, 4), st.booleans()
)
def test_against_any_falling_demand_the_price_settles_near_where_it_gives_what_is_wished(
    start: int, edge: int, target: int, slope: int, gentle: bool
) -> None:
    wishes = Wishes(20 * CENT, 80 * CENT, target * 100)

    def cliff(rate: int) -> int:
        return BASIS if rate <= edge * CENT else 0

    def line(rate: int) -> int:
        fall = 60 + 60 * slope
        return max(0, min(BASIS, target * 100 - fall * (rate - edge * CENT) // CENT))

    told = run(wishes, start * CENT, line if gentle else cliff, 300)
    last = [each.rate for each in told[-20:]]
    assert max(last) - min(last) <= 0.025 * edge * CENT, last
    if not gentle:
        assert all(0.96 * edge * CENT <= rate <= 1.04 * edge * CENT for rate in last)
    else:
        assert all(abs(line(rate) - wishes.target_bp) <= 2 * BAND_BP for rate in last)


def test_a_turn_waits_for_a_day_and_halves_the_pace() -> None:
    wishes = Wishes(CENT, 100 * CENT, 7000)
    lately = Course(50 * CENT, 1, 400, PERIOD_SECONDS)
    assert next_price(wishes, lately, rented(0)) == Next(50 * CENT, Why.TURN, 0, 1, 400)
    rested = Course(50 * CENT, 1, 400, TURN_SECONDS)
    assert next_price(wishes, rested, rented(0)) == Next(49 * CENT, Why.DOWN, 200, -1, 200)
    onwards = Course(50 * CENT, 1, 400, PERIOD_SECONDS)
    assert next_price(wishes, onwards, rented(BASIS)).pace_bp == 500


@pytest.mark.parametrize(
    ("part", "rate", "why", "step"),
    [
        (10_000, 52_500, Why.UP, 500),
        (9500, 52_000, Why.UP, 400),
        (8000, 50_500, Why.UP, 100),
        (7501, 50_005, Why.UP, 1),
        (7500, 50_000, Why.FITS, 0),
        (6500, 50_000, Why.FITS, 0),
        (6000, 49_500, Why.DOWN, 100),
        (0, 47_500, Why.DOWN, 500),
    ],
)
def test_the_table_of_the_documentation_is_what_the_formula_gives(
    part: int, rate: int, why: Why, step: int
) -> None:
    after = next_price(Wishes(30_000, 80_000, 7000), Course(50_000), rented(part))
    assert (after.rate, after.why, after.step_bp) == (rate, why, step)


def test_every_reason_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Why)
