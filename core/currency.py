"""How an amount is written: the one place that knows the sign of a currency. Without one it is the deployment's own."""

from __future__ import annotations

from django.conf import settings
from django.utils.functional import lazy

from core.money import human_string

SIGNS = {"USD": "$"}


def sign(currency: str = "") -> str:
    """Return what stands for a currency in the head of a column or a label: `$`, or its code: `EUR`, `CREDIT`."""
    code = currency or settings.CURRENCY
    return SIGNS.get(code, code)


# For what is made when a module is read, before settings are.
lazy_sign = lazy(sign, str)


def written(amount: str, currency: str = "") -> str:
    """Return an amount, already in digits, with its currency: `$5.00`, `5.00 CREDIT`."""
    code = currency or settings.CURRENCY
    return f"{SIGNS[code]}{amount}" if code in SIGNS else f"{amount} {code}"


def priced(nano: int, currency: str = "") -> str:
    """Return an amount (nano-units) with its currency as a sentence says it. Rounds as `money.human_string`."""
    return written(human_string(nano), currency)
