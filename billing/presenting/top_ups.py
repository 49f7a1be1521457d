"""Wallets that fill themselves, as every door shows them: the state in words, and what to do."""

from __future__ import annotations

from typing import Any

from billing.services import TopUp
from core import money

TOP_UP_WORDS = {
    "no_method": (
        "Off",
        "Pay in once below and let the payment method be remembered; then you can switch it on here.",
        "neutral",
    ),
    "off": (
        "Off",
        "A payment method is remembered. Say below when and by how much it may be charged.",
        "neutral",
    ),
    "on": (
        "On",
        "It is filled from your remembered payment method, without you being there.",
        "usable",
    ),
    "waiting": (
        "On, waiting",
        "The payment service was asked to charge and has not said yet what came of it. It counts to the month, and "
        "nothing else is charged before that is known.",
        "waiting",
    ),
    "limit_reached": (
        "On, limit reached",
        "The limit of this month is used up, so nothing more is charged before the next. Raise it to go on.",
        "waiting",
    ),
    "declined": (
        "Declined",
        "The method was declined and is tried again. Pay in yourself meanwhile, or let another method be remembered "
        "and save this again.",
        "failed",
    ),
    "given_up": (
        "Switched off",
        "The method was declined too often. Pay in with one that works, let it be remembered, and save this again.",
        "failed",
    ),
}


def top_up_out(found: TopUp) -> dict[str, Any]:
    """Return how a wallet fills itself; `note` is what the provider said when it was declined last."""
    rule, state = found.rule, _top_up_state(found)
    label, sentence, tone = TOP_UP_WORDS[state]
    told = {
        "enabled": rule is not None and rule.enabled,
        "state": state,
        "label": label,
        "sentence": sentence,
        "tone": tone,
        "method": found.method,
        "used": money.decimal_string(found.used),
    }
    if rule is None:
        return told
    return told | {
        "threshold": money.decimal_string(rule.threshold),
        "amount": money.decimal_string(rule.amount),
        "month_max": money.decimal_string(rule.month_max),
        "currency": rule.currency,
        "failures": rule.failures,
        "note": rule.note,
        "next_at": rule.next_at if state == "declined" else None,
    }


def _top_up_state(found: TopUp) -> str:
    rule = found.rule
    if rule is not None and rule.failures:
        return "declined" if rule.enabled else "given_up"
    if rule is None or not rule.enabled:
        return "off" if found.method else "no_method"
    if found.waiting:
        return "waiting"
    return "limit_reached" if found.used + rule.amount > rule.month_max else "on"
