"""Amounts and currencies that people and programs send: read in one place, with limits. Nano-units."""

from __future__ import annotations

import re
from decimal import Decimal

from django.conf import settings

from core import money
from core.errors import Invalid

# What a wallet can hold. CREDIT is given by staff for work and tests; nobody can buy it.
CREDIT = "CREDIT"
MOST = 1_000_000 * money.NANO
NANO_PLACES = 9
_LONGEST = 40
_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)


def currencies() -> tuple[str, ...]:
    """Return every currency there are wallets in, the one that rents first."""
    return (settings.CURRENCY, CREDIT)


def parse_currency(given: object) -> str:
    """Return a currency we know. Raises Invalid `currency_unknown`."""
    if not isinstance(given, str) or given not in currencies():
        raise Invalid(
            "currency_unknown", f"There are wallets in {' and '.join(currencies())}; name one."
        )
    return given


def parse_amount(
    given: object, *, least: int = 1, most: int = MOST, places: int = NANO_PLACES
) -> int:
    """Return what somebody sent as an amount (plain decimal, currency units) in nano-units.

    Args:
        least, most: the limits, both included, in nano-units.
        places: how many digits there may be after the point.

    Raises Invalid `amount_invalid` (no plain number: NaN, Infinity, exponents, text), `amount_too_fine`,
    `amount_range`.
    """
    match = _PLAIN.fullmatch(_text(given))
    if match is None:
        raise Invalid("amount_invalid", "Send the amount as a plain decimal number, such as 20.50.")
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(fraction) > places:
        raise Invalid("amount_too_fine", f"An amount has at most {places} digits after the point.")
    nano = int(whole) * money.NANO + int(fraction.ljust(NANO_PLACES, "0"))
    if sign or not least <= nano <= most:
        low, high = money.human_string(least), money.human_string(most)
        raise Invalid("amount_range", f"The amount lies between {low} and {high}.")
    return nano


def _text(given: object) -> str:
    """Return a number as its sender wrote it; what is none, or too long to be one, as nothing."""
    if isinstance(given, bool):
        return ""
    if isinstance(given, Decimal) and given.is_finite() and abs(given.adjusted()) < _LONGEST:
        return f"{given:f}"
    if isinstance(given, int) and abs(given) >= 10**_LONGEST:
        return ""
    if not isinstance(given, (str, int, float)):
        return ""
    text = str(given).strip()
    return text if len(text) <= _LONGEST else ""
