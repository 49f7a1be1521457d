"""Pure price arithmetic. Amounts are integer nano-units (1e-9 of a currency unit), rates are nano per second.

A price per hour is rounded to a rate exactly once, when it is published; afterwards a charge is
`rate * seconds`: an integer, additive over intervals, the same on every machine.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

NANO = 1_000_000_000
SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86_400
# A billing month is 30 days, so that a GB-month has one length.
SECONDS_PER_MONTH = 30 * SECONDS_PER_DAY
BASIS_POINTS = 10_000


def rate_from_hourly(price: Decimal) -> int:
    """Return the rate (nano/s) of a price per hour, rounded half up; error at most 0.5 nano/s."""
    return int((price * NANO / SECONDS_PER_HOUR).to_integral_value(ROUND_HALF_UP))


def rate_from_monthly(price: Decimal) -> int:
    """Return the rate (nano/s) of a price per 30-day month, rounded half up."""
    return int((price * NANO / SECONDS_PER_MONTH).to_integral_value(ROUND_HALF_UP))


def compute_rate(rate: int, cards: int, minimum: int) -> int:
    """Return what a rental's compute costs (nano/s): cards (none: the machine, once) at `rate`, at least `minimum`."""
    return max(rate * max(cards, 1), minimum)


def nano_from_decimal(amount: Decimal) -> int:
    """Return `amount` (currency units) in nano-units; raises ValueError when it has finer digits."""
    scaled = amount * NANO
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} is finer than one nano-unit")
    return int(scaled)


def decimal_string(nano: int) -> str:
    """Return an amount as the plain decimal string the API shows, without trailing zeros: `0.48`."""
    whole, fraction = divmod(abs(nano), NANO)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{digits}"


def human_string(nano: int) -> str:
    """Return an amount as a sentence says it: two places from one unit up, three digits below: `0.0514`.

    For people only; bills and the API use `decimal_string`, which loses nothing.
    """
    amount = Decimal(nano) / NANO
    places = 2 if abs(amount) >= 1 or not amount else 2 - amount.adjusted()
    text = f"{amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def split_fee(rate: int, fee_bps: int) -> tuple[int, int]:
    """Split a gross rate (nano/s) into (host's rate, platform fee rate); the fee is rounded down.

    `fee_bps` is the fee in basis points, 0..10000.
    """
    fee = rate * fee_bps // BASIS_POINTS
    return rate - fee, fee
