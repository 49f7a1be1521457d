"""The published formula of smart pricing: what a machine asks next, and why. Pure; docs/pricing.md tells it in words.

Rates are nano-units a second, of one card or of a whole machine; parts are basis points (1/10000).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BASIS = 10_000
# A day has a night: what was rented is measured over all of it, so that nobody's price falls every evening.
WINDOW_SECONDS = 86_400
# Twice a day at most, so that half of the next measurement is of the new price.
PERIOD_SECONDS = 43_200
# A turn waits for a measurement that is wholly of the present price: what is late is no reason to swing.
TURN_SECONDS = WINDOW_SECONDS
# With less than half of the window heard, nobody knows whether it was empty or away.
LEAST_HEARD_SECONDS = WINDOW_SECONDS // 2
# Five points to each side of the target nothing happens: of four cards, one that is free for five hours of a day.
BAND_BP = 500
# Beyond the band each point of occupancy is worth a fifth of a percent: 25 points reach the greatest step.
GAIN_DIVISOR = 5
# A renter who looks again tomorrow finds a price that is recognisably the same: at most 5 % a step, so 10 % a day.
MOST_STEP_BP = 500
# A smaller step than 1 % tells a market nothing.
LEAST_STEP_BP = 100
# A turn halves the pace, going on adds a quarter: 1/2 x 5/4 < 1, so swinging about a sharp edge dies down, and
# two steps on (1/2 + 5/8 > 1) get back over it.
TURN_DIVISOR, GO_ON_BP = 2, 12_500
TARGET_RANGE_BP = (1000, 9500)


class Why(StrEnum):
    """Why the next price is what it is. The codes are stable; `SENTENCES` says them."""

    UP = "more_rented_than_wished"
    DOWN = "less_rented_than_wished"
    FITS = "as_wished"
    FLOOR = "at_floor"
    CEILING = "at_ceiling"
    BOUNDED = "moved_into_bounds"
    SOON = "changed_lately"
    TURN = "turn_waits"
    UNKNOWN = "too_little_known"
    AWAY = "not_offered"


SENTENCES = {
    Why.UP: "More of it was rented than wished, so it may cost more.",
    Why.DOWN: "Less of it was rented than wished, so it should cost less.",
    Why.FITS: "What was rented is within 5 points of what is wished. The price stays.",
    Why.FLOOR: "Less of it was rented than wished, and its price is at the floor. It stays.",
    Why.CEILING: "More of it was rented than wished, and its price is at the ceiling. It stays.",
    Why.BOUNDED: "The price was outside of floor and ceiling.",
    Why.SOON: "The price changed less than 12 hours ago. It stays until then.",
    Why.TURN: "The price moved the other way less than 24 hours ago. It stays until a whole day is measured.",
    Why.UNKNOWN: "The machine was heard for less than 12 of the last 24 hours. The price stays.",
    Why.AWAY: "The machine is not offered now. The price stays.",
}


@dataclass(frozen=True)
class Wishes:
    """What a host wishes: bounds (nano/s) and how much of the time should be rented (basis points)."""

    floor: int
    ceiling: int
    target_bp: int


@dataclass(frozen=True)
class Course:
    """Where a price is: its rate, the last step's direction (-1, 0: none yet, 1), the pace, and seconds since."""

    rate: int
    direction: int = 0
    pace_bp: int = MOST_STEP_BP
    since: int | None = None


@dataclass(frozen=True)
class Seen:
    """What was seen of a machine in the window, in card-seconds (a machine without cards counts as one)."""

    rented: int
    heard: int
    cards: int
    offered: bool = True

    @property
    def occupancy_bp(self) -> int | None:
        """The part of what was offered that was rented; None: too little was heard to know."""
        if not self.cards or self.heard < LEAST_HEARD_SECONDS * self.cards:
            return None
        return min(BASIS, BASIS * self.rented // self.heard)


@dataclass(frozen=True)
class Next:
    """The next rate and why; `step_bp` is the size of the step, `direction` and `pace_bp` go into the next course."""

    rate: int
    why: Why
    step_bp: int = 0
    direction: int = 0
    pace_bp: int = MOST_STEP_BP


def next_price(wishes: Wishes, course: Course, seen: Seen) -> Next:
    """Return what a machine asks next.

    Outside of the band around the target the price moves towards what is wished by a fifth of a percent for each
    point beyond it, never by more than the pace, and always stays within floor and ceiling.
    """
    bounded = clamp(course.rate, wishes)
    stays = Next(bounded, Why.FITS, 0, course.direction, course.pace_bp)
    if bounded != course.rate:
        return _because(stays, Why.BOUNDED)
    if not seen.offered:
        return _because(stays, Why.AWAY)
    occupancy = seen.occupancy_bp
    if occupancy is None:
        return _because(stays, Why.UNKNOWN)
    beyond = _beyond(occupancy - wishes.target_bp)
    if not beyond:
        return stays
    way = 1 if beyond > 0 else -1
    if course.rate == (wishes.ceiling if way > 0 else wishes.floor):
        return _because(stays, Why.CEILING if way > 0 else Why.FLOOR)
    waits = _waits(course, way)
    return _because(stays, waits) if waits else _step(wishes, course, way, abs(beyond))


def clamp(rate: int, wishes: Wishes) -> int:
    """Return the rate, or the bound that it is beyond."""
    return max(wishes.floor, min(rate, wishes.ceiling))


def _because(stays: Next, why: Why) -> Next:
    return Next(stays.rate, why, stays.step_bp, stays.direction, stays.pace_bp)


def _beyond(deviation: int) -> int:
    """Return how far an occupancy is from the band around its target; 0 within it."""
    return max(0, deviation - BAND_BP) + min(0, deviation + BAND_BP)


def _waits(course: Course, way: int) -> Why | None:
    if course.since is None:
        return None
    if course.since < PERIOD_SECONDS:
        return Why.SOON
    turns = course.direction == -way
    return Why.TURN if turns and course.since < TURN_SECONDS else None


def _step(wishes: Wishes, course: Course, way: int, beyond: int) -> Next:
    pace = course.pace_bp
    if course.direction == -way:
        pace = max(LEAST_STEP_BP, pace // TURN_DIVISOR)
    elif course.direction == way:
        pace = min(MOST_STEP_BP, pace * GO_ON_BP // BASIS)
    size = min(pace, -(-beyond // GAIN_DIVISOR))
    # The smallest rates move by one at least.
    rate = clamp(course.rate + way * max(1, course.rate * size // BASIS), wishes)
    return Next(rate, Why.UP if way > 0 else Why.DOWN, size, way, pace)
