"""Wallets that fill themselves: below a threshold, from a saved method, within a monthly limit. Nano-units.

A top-up is a deposit like any other, so that webhooks, refunds and disputes of it are those of deposits. One is in
flight at a time, which the database insists on. What is declined is tried again later, and then given up.

From the moment the provider is asked, a charge may have been made, whatever became of the answer: it is in flight and
counts to its month until the provider tells, and nothing else is charged meanwhile, also by a rule that was changed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Sum, Value
from django.db.models.functions import Coalesce, Greatest, Least

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import ledger
from billing.machine import PAID_IN, DepositState
from billing.models import Account, AccountKind, AutoTopUp, Deposit, DepositQuerySet
from billing.providers import SavedMethod
from billing.services import amounts
from billing.services.declines import begun_of, count_decline, expire_unasked, stop_filling
from billing.services.deposits import CENT, LEAST, MOST
from billing.services.moving import move_deposit, record_deposit
from billing.services.wallets import wallet_of
from core import clock
from core.errors import Conflict, Invalid
from core.ids import new_id

MOST_A_MONTH = 100_000 * LEAST
# When to look again at a wallet that is low and may not be filled now.
LOOK_AGAIN = dt.timedelta(hours=1)
IN_FLIGHT = frozenset({DepositState.CREATED, DepositState.PENDING})
# What may have been charged, or was.
COUNTED = IN_FLIGHT | PAID_IN


def parse_limit(given: object) -> int:
    """Return what somebody sent as a threshold or a monthly limit (nano-units). Raises as `parse_amount`."""
    return amounts.parse_amount(given, least=LEAST, most=MOST_A_MONTH, places=2)


@transaction.atomic
def set_auto_top_up(
    *, actor: Actor, saved: SavedMethod, threshold: int, amount: int, month_max: int
) -> AutoTopUp:
    """Let a wallet fill itself by `amount` when less than `threshold` is free; replaces an earlier rule.

    The same rule once more is the same rule: what it has begun goes on. Raises Invalid `amount_range`.
    """
    actor.require("wallet:deposit")
    sane = LEAST <= amount <= MOST and 0 <= threshold <= MOST and amount % CENT == 0
    if not (sane and amount <= month_max <= MOST_A_MONTH):
        raise Invalid("amount_range", "Fill up by 1 to 10,000, and at most the limit of a month.")
    wanted = {
        "enabled": True,
        "threshold": threshold,
        "amount": amount,
        "month_max": month_max,
        "currency": settings.CURRENCY,
        "provider": settings.DC.payments,
        "customer": saved.customer,
        "method": saved.method,
    }
    rule = _replace_rule(actor, wanted)
    _record(actor, rule, "top_up.set", threshold=threshold, amount=amount, month_max=month_max)
    return rule


def _replace_rule(actor: Actor, wanted: dict[str, object]) -> AutoTopUp:
    """Make a person's rule what is wanted now, and give up what another rule has begun and nobody was asked for."""
    begun = begun_of(actor.user_id)
    earlier = AutoTopUp.objects.lock().filter(owner_id=actor.user_id).first()
    # Only now: whoever began something under the earlier rule has written it down before this second.
    since = now = clock.now()
    if earlier is not None and all(getattr(earlier, key) == wanted[key] for key in wanted):
        since = earlier.since
    else:
        expire_unasked(actor, begun)
    fresh = {"since": since, "failures": 0, "next_at": now, "note": ""}
    return AutoTopUp.objects.update_or_create(owner_id=actor.user_id, defaults=wanted | fresh)[0]


@transaction.atomic
def stop_auto_top_up(*, actor: Actor) -> None:
    """Let a wallet no longer fill itself, and charge nothing more that was begun; harmless when it does not."""
    actor.require("wallet:deposit")
    stop_filling(actor, actor.user_id)


def auto_top_up_of(*, actor: Actor) -> AutoTopUp | None:
    """Return a person's rule, None when there never was one."""
    return AutoTopUp.objects.filter(owner_id=actor.user_id).first()


@dataclass(frozen=True)
class TopUp:
    """How a wallet fills itself: the rule, what was used of the month (nano-units), whether a method may be charged.

    `waiting`: the provider was asked to charge and has not answered yet.
    """

    rule: AutoTopUp | None
    used: int
    method: bool
    waiting: bool = False


def top_up_of(*, actor: Actor) -> TopUp:
    """Return how the actor's wallet fills itself."""
    actor.require("wallet:read")
    method = _remembered(actor).exists()
    waiting = _in_flight(actor.user_id).filter(asked_at__isnull=False).exists()
    return TopUp(auto_top_up_of(actor=actor), _used_this_month(actor.user_id), method, waiting)


def _in_flight(owner_id: uuid.UUID) -> DepositQuerySet:
    states = [state.value for state in IN_FLIGHT]
    return Deposit.objects.filter(owner_id=owner_id, auto=True, state__in=states)


def _used_this_month(owner_id: uuid.UUID) -> int:
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    charged = Deposit.objects.filter(
        owner_id=owner_id,
        auto=True,
        created_at__gte=month,
        state__in=[state.value for state in COUNTED],
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
    """Return the rules that have something to do, who waits longest first: wallets below their thresholds."""
    now = clock.now()
    until = Least(Coalesce(F("runs_out"), Value(clock.epoch())), Value(clock.epoch()))
    used = F("burn") * Greatest(until - F("asof"), Value(0))
    wallets = Account.objects.filter(
        kind=AccountKind.WALLET.value,
        owner_id=OuterRef("owner_id"),
        currency=OuterRef("currency"),
        frozen=False,
    )
    low = wallets.alias(left=F("balance") - F("held") - used).filter(left__lt=OuterRef("threshold"))
    flying = Deposit.objects.filter(
        owner_id=OuterRef("owner_id"), auto=True, state__in=[state.value for state in IN_FLIGHT]
    )
    rules = AutoTopUp.objects.filter(
        Exists(low),
        ~Exists(flying),
        enabled=True,
        next_at__lte=now,
        provider=settings.DC.payments,
        currency=settings.CURRENCY,
    )
    return list(rules.order_by("next_at", "pk").values_list("pk", flat=True)[:limit])


@transaction.atomic
def method_to_charge(*, deposit_id: uuid.UUID) -> SavedMethod | None:
    """Return what a deposit of a top-up may be charged to, and note that it is asked for; None when it may not.

    One that its owner no longer wants, because the rule was stopped or changed since, is charged no more. It is over
    from here on unless the provider was asked before: what came of that is for the provider to tell.
    """
    found = Deposit.objects.lock().get(pk=deposit_id)
    if DepositState(found.state) is not DepositState.CREATED:
        return None
    rule = AutoTopUp.objects.lock().filter(owner_id=found.owner_id, enabled=True).first()
    if rule is None or rule.amount != found.amount or rule.since > found.created_at:
        expire_unasked(Actor.system(), [found])
        return None
    found.asked_at, found.ref = clock.now(), rule.customer
    found.save(update_fields=["asked_at", "ref"])
    return SavedMethod(rule.customer, rule.method)


@transaction.atomic
def begin_top_up(*, rule_id: uuid.UUID) -> Deposit | None:
    """Write the deposit of a top-up down if it is due now; None when it is not, or one is in flight."""
    rule = AutoTopUp.objects.lock().get(pk=rule_id)
    now = clock.now()
    if not rule.enabled or rule.next_at > now:
        return None
    if _in_flight(rule.owner_id).exists():
        return None
    wallet = wallet_of(rule.owner_id, rule.currency)
    if wallet.frozen or ledger.free(wallet) >= rule.threshold:
        return None
    if _used_this_month(rule.owner_id) + rule.amount > rule.month_max:
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        next_month = (month + dt.timedelta(days=32)).replace(day=1)
        rule.next_at = min(next_month, now + LOOK_AGAIN)
        rule.save(update_fields=["next_at"])
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
    _give_up(deposit_id, why, for_good=False)


@transaction.atomic
def abandon_top_up(*, deposit_id: uuid.UUID) -> None:
    """Nothing was heard of a top-up for days: fill this wallet no more, for the money may be on its way, and tell."""
    _give_up(deposit_id, "Nothing was heard of this payment for days.", for_good=True)


def _give_up(deposit_id: uuid.UUID, why: str, *, for_good: bool) -> None:
    found = Deposit.objects.lock().get(pk=deposit_id)
    if DepositState(found.state) in IN_FLIGHT:
        move_deposit(Actor.system(), found, DepositState.EXPIRED)
        count_decline(found, why, for_good=for_good)


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
