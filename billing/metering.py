"""The arithmetic of accrual. Pure. A wallet is a line: balance - burn x (t - asof), until it runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise


def runs_out(*, balance: int, held: int, burn: int, asof: int) -> int | None:
    """Return the first second (epoch) at which the free money is not enough for one more, or None.

    Args:
        balance, held: nano-units at `asof`; held money does not burn.
        burn: nano-units a second, the sum of the rates of all open meters.
        asof: epoch seconds up to which everything is posted.
    """
    return None if burn == 0 else asof + (balance - held) // burn


def accrued_until(*, now: int, asof: int, runs_out: int | None) -> int:
    """Return up to which second money has been used: `now`, but never past the end of the money."""
    until = max(asof, now)
    return until if runs_out is None else max(asof, min(until, runs_out))


def charge(*, rate: int, start: int, end: int) -> int:
    """Return the exact price of [start, end): an integer, additive over adjoining intervals."""
    return rate * (end - start)


def warning_level(*, left: int, levels: list[int]) -> int | None:
    """Return the nearest of the warning times (seconds) within which money ends, None when it lasts longer."""
    return min((level for level in levels if left <= level), default=None)


def fee_of(*, base: int, schedule: list[tuple[int, int]], at: int) -> int:
    """Return the fee (basis points) at `at`: the last of the schedule that has begun, else the base."""
    begun = [bps for since, bps in schedule if since <= at]
    return begun[-1] if begun else base


@dataclass(frozen=True)
class Given:
    """What stands (nano-units) of something that was given back for the seconds [since, until) of a posting."""

    amount: int
    since: int
    until: int


def given_behind(given: Sequence[Given], *, rate: int, end: int) -> list[int]:
    """Return how much of each lies at or behind the second `end`; together never more than these seconds cost.

    Each is spread over its own seconds as far as those before it in the list have left something of them,
    which is how it was given: no second is given back twice.
    """
    edges = sorted({end, *(one.since for one in given), *(one.until for one in given)})
    left = {
        span: Fraction(charge(rate=rate, start=span[0], end=span[1])) for span in pairwise(edges)
    }
    found = []
    for one in given:
        own = [span for span in left if one.since <= span[0] and span[1] <= one.until]
        room = sum(left[span] for span in own)
        part = min(Fraction(1), one.amount / room) if room else Fraction(0)
        found.append(int(part * sum(left[span] for span in own if span[0] >= end)))
        for span in own:
            left[span] -= part * left[span]
    return found
