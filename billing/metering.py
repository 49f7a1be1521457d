"""The arithmetic of accrual. Pure. A wallet is a line: balance - burn x (t - asof), until it runs out."""

from __future__ import annotations


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
