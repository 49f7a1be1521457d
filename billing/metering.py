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
