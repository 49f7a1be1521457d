"""Amounts in templates, which know every currency's sign from `core.currency` and none by themselves."""

from __future__ import annotations

from django import template

from core import currency

register = template.Library()


@register.filter
def written(amount: object, code: str = "") -> str:
    """Return an amount, already in digits, with its currency; without a code with the deployment's."""
    return currency.written(str(amount), code)


@register.simple_tag
def sign(code: str = "") -> str:
    """Return what stands for a currency in the head of a column."""
    return currency.sign(code)
