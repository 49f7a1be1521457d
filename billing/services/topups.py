"""Wallets that fill themselves: below a threshold, from a saved method, within a monthly limit. Nano-units.

A top-up is a deposit like any other, so that webhooks, refunds and disputes of it are those of deposits. One is in
flight at a time, which the database insists on. What is declined is tried again later, and then given up.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import ledger
from billing.events import TopUpFailed
from billing.machine import PAID_IN, DepositState
from billing.models import Account, AccountKind, AutoTopUp, Deposit, DepositQuerySet
from billing.providers import SavedMethod
from billing.services import amounts
from billing.services.deposits import CENT, LEAST, MOST
from billing.services.moving import move_deposit, record_deposit
from billing.services.wallets import wallet_of
from core import clock, outbox
from core.errors import Conflict, Invalid
from core.ids import new_id

MOST_A_MONTH = 100_000 * LEAST
MOST_FAILURES = 5
FIRST_PAUSE = dt.timedelta(hours=1)
IN_FLIGHT = frozenset({DepositState.CREATED, DepositState.PENDING})


def parse_limit(given: object) -> int:
    """Return what somebody sent as a threshold or a monthly limit (nano-units). Raises as `parse_amount`."""
    return amounts.parse_amount(given, least=LEAST, most=MOST_A_MONTH, places=2)


@transaction.atomic
def set_auto_top_up(
    *, actor: Actor, saved: SavedMethod, threshold: int, amount: int, month_max: int
) -> AutoTopUp:
    """Let a wallet fill itself by `amount` when less than `threshold` is free; replaces an earlier rule.

    Raises Invalid `amount_range`.
    """
    actor.require("wallet:deposit")
    sane = LEAST <= amount <= MOST and 0 <= threshold <= MOST and amount % CENT == 0
    if not (sane and amount <= month_max <= MOST_A_MONTH):
        raise Invalid("amount_range", "Fill up by 1 to 10,000, and at most the limit of a month.")
    rule, _ = AutoTopUp.objects.update_or_create(
        owner_id=actor.user_id,
        defaults={
            "enabled": True,
            "threshold": threshold,
            "amount": amount,
            "month_max": month_max,
            "currency": settings.CURRENCY,
            "provider": settings.DC.payments,
            "customer": saved.customer,
            "method": saved.method,
            "since": clock.now(),
            "failures": 0,
            "next_at": clock.now(),
            "note": "",
        },
    )
    _record(actor, rule, "top_up.set", threshold=threshold, amount=amount, month_max=month_max)
    return rule


@transaction.atomic
def stop_auto_top_up(*, actor: Actor) -> None:
    """Let a wallet no longer fill itself; harmless when it does not."""
    actor.require("wallet:deposit")
    for rule in AutoTopUp.objects.lock().filter(owner_id=actor.user_id, enabled=True):
        rule.enabled = False
        rule.save(update_fields=["enabled"])
        _record(actor, rule, "top_up.stopped")


def auto_top_up_of(*, actor: Actor) -> AutoTopUp | None:
    """Return a person's rule, None when there never was one."""
    return AutoTopUp.objects.filter(owner_id=actor.user_id).first()


@dataclass(frozen=True)
class TopUp:
    """How a wallet fills itself: the rule, what was used of the month (nano-units), whether a method may be charged."""

    rule: AutoTopUp | None
    used: int
    method: bool


def top_up_of(*, actor: Actor) -> TopUp:
    """Return how the actor's wallet fills itself."""
    actor.require("wallet:read")
    method = _remembered(actor).exists()
    return TopUp(auto_top_up_of(actor=actor), _used_this_month(actor.user_id), method)


def _used_this_month(owner_id: uuid.UUID) -> int:
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    charged = Deposit.objects.filter(
        owner_id=owner_id,
        auto=True,
        created_at__gte=month,
        state__in=[state.value for state in PAID_IN],
    )
    return int(charged.aggregate(total=Sum("amount"))["total"] or 0)


def remembered_ref(*, actor: Actor) -> str:
    """Return the checkout whose method may be charged again. Raises Conflict `method_missing`."""
    found = _remembered(actor).order_by("-created_at").first()
    if found is None:
        raise no_method()
    return found.ref


def _remembered(actor: Actor) -> DepositQuerySet:
    paid = [state.value for state in PAID_IN]
    return Deposit.objects.filter(
        owner_id=actor.user_id, remember=True, state__in=paid, provider=settings.DC.payments
    )


def no_method() -> Conflict:
    """Return the refusal when no payment method may be charged again."""
    return Conflict(
        "method_missing", "Pay in once and let the method be remembered, then try again."
    )


def due_rules(*, limit: int = 200) -> list[uuid.UUID]:
    """Return the rules that may have something to do: the wallet's money, as posted, is near the threshold."""
    rules = AutoTopUp.objects.filter(
        enabled=True, next_at__lte=clock.now(), provider=settings.DC.payments
    )
    low = Account.objects.filter(
        kind=AccountKind.WALLET.value, owner_id__in=rules.values("owner_id")
    )
    owners = [w.owner_id for w in low if w.owner_id and w.currency == settings.CURRENCY]
    return list(rules.filter(owner_id__in=owners).values_list("pk", flat=True)[:limit])


@transaction.atomic
def begin_top_up(*, rule_id: uuid.UUID) -> Deposit | None:
    """Write the deposit of a top-up down if it is due now; None when it is not, or one is in flight."""
    rule = AutoTopUp.objects.lock().get(pk=rule_id)
    now = clock.now()
    if not rule.enabled or rule.next_at > now:
        return None
    mine = Deposit.objects.filter(owner_id=rule.owner_id, auto=True)
    if mine.filter(state__in=[state.value for state in IN_FLIGHT]).exists():
        return None
    wallet = wallet_of(rule.owner_id, rule.currency)
    if wallet.frozen or ledger.free(wallet) >= rule.threshold:
        return None
    if _used_this_month(rule.owner_id) + rule.amount > rule.month_max:
        return None
    made = Deposit.objects.create(
        id=new_id(),
        owner_id=rule.owner_id,
        email=accounts.email_of(user_id=rule.owner_id),
        amount=rule.amount,
        currency=rule.currency,
        provider=rule.provider,
        auto=True,
        state=DepositState.CREATED.value,
        created_at=now,
        changed_at=now,
    )
    record_deposit(Actor.system(), made, "deposit.created", auto=True)
    return made


@transaction.atomic
def note_declined(*, deposit_id: uuid.UUID, why: str) -> None:
    """The saved method was declined: wait longer each time, give up after a few, and tell. Once a deposit."""
    rule = (
        AutoTopUp.objects.lock()
        .filter(owner_id=Deposit.objects.values_list("owner_id", flat=True).get(pk=deposit_id))
        .first()
    )
    found = Deposit.objects.lock().get(pk=deposit_id)
    if DepositState(found.state) not in IN_FLIGHT:
        return
    move_deposit(Actor.system(), found, DepositState.EXPIRED)
    if rule is None:
        return
    rule.failures = F("failures") + 1
    rule.note = why[:200]
    rule.save(update_fields=["failures", "note"])
    rule.refresh_from_db()
    rule.next_at = clock.now() + FIRST_PAUSE * 2 ** (rule.failures - 1)
    rule.enabled = rule.failures < MOST_FAILURES
    rule.save(update_fields=["next_at", "enabled"])
    _record(Actor.system(), rule, "top_up.failed", failures=rule.failures, why=rule.note)
    outbox.publish(
        TopUpFailed(
            owner_id=str(rule.owner_id),
            deposit_id=str(deposit_id),
            why=rule.note,
            tries=rule.failures,
            tries_again=rule.enabled,
            again=clock.to_epoch(rule.next_at),
        )
    )


@transaction.atomic
def note_topped_up(*, owner_id: uuid.UUID) -> None:
    """It worked: what was declined before is forgotten."""
    AutoTopUp.objects.filter(owner_id=owner_id).update(failures=0, note="", next_at=clock.now())


def _record(actor: Actor, rule: AutoTopUp, verb: str, **data: object) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="top_up",
        subject_id=rule.pk,
        data={"owner": str(rule.owner_id), **data},
    )
