"""Money that comes from outside: requested here, paid elsewhere, believed only when the provider says so."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction

from accounts import services as accounts
from accounts.actors import Actor
from billing.events import DepositSucceeded
from billing.machine import DepositState
from billing.models import Deposit, PaymentEvent
from billing.providers.base import Kind, ProviderEvent
from billing.services import amounts, payouts, returns, takebacks
from billing.services.declines import count_decline
from billing.services.moving import move_deposit, record_deposit
from billing.services.wallets import deposit
from core import clock, idempotency, money, outbox
from core.errors import Invalid, NotFound, Unavailable
from core.ids import new_id

CENT = money.NANO // 100
LEAST, MOST = 1 * money.NANO, 10_000 * money.NANO
# Nothing has come yet, whatever was said of it.
UNPAID = frozenset(
    {DepositState.CREATED, DepositState.PENDING, DepositState.FAILED, DepositState.EXPIRED}
)


def parse_deposit(given: object) -> int:
    """Return what somebody wants to pay in (nano-units). Raises Invalid as `parse_amount` does."""
    return amounts.parse_amount(given, least=LEAST, most=MOST, places=2)


@transaction.atomic
def request_deposit(
    *,
    actor: Actor,
    amount: int,
    idempotency_key: str,
    currency: str | None = None,
    remember: bool = False,
) -> Deposit:
    """Write down that somebody wants to pay `amount` (nano-units, whole cents); no money has moved.

    `remember`: the payer lets the method be charged again, by a wallet that fills itself. The same key gives
    the same deposit. Raises Invalid `amount_range`, `currency_not_sold`.
    """
    actor.require("wallet:deposit")
    if currency not in (None, settings.CURRENCY):
        raise Invalid("currency_not_sold", f"Only {settings.CURRENCY} can be paid in.")
    if not LEAST <= amount <= MOST or amount % CENT:
        raise Invalid("amount_range", "Pay in 1 to 10,000, in whole cents.")
    deposit_id = new_id()
    first = idempotency.claim(
        owner_id=actor.user_id, key=idempotency_key, body=f"deposit {amount}", subject_id=deposit_id
    )
    if first != deposit_id:
        return Deposit.objects.get(pk=first)
    now = clock.now()
    made = Deposit.objects.create(
        id=deposit_id,
        owner_id=actor.user_id,
        email=accounts.email_of(user_id=actor.user_id),
        amount=amount,
        currency=settings.CURRENCY,
        provider=settings.DC.payments,
        remember=remember,
        state=DepositState.CREATED.value,
        created_at=now,
        changed_at=now,
    )
    record_deposit(actor, made, "deposit.created")
    return made


def deposits_of(*, actor: Actor) -> list[Deposit]:
    """Return a person's own deposits, newest first."""
    return list(Deposit.objects.filter(owner_id=actor.user_id).order_by("-created_at")[:100])


def deposit_of(*, actor: Actor, deposit_id: uuid.UUID) -> Deposit:
    """Return one of a person's own deposits. Raises NotFound `deposit_unknown`."""
    found = Deposit.objects.filter(owner_id=actor.user_id, pk=deposit_id).first()
    if found is None:
        raise NotFound("deposit_unknown", "You have no such deposit.")
    return found


@transaction.atomic
def note_checkout(*, deposit_id: uuid.UUID, ref: str, url: str) -> Deposit:
    """The provider has opened its checkout; harmless when something has come of it already."""
    found = Deposit.objects.lock().get(pk=deposit_id)
    if DepositState(found.state) is DepositState.CREATED:
        move_deposit(Actor.system(), found, DepositState.PENDING, ref=ref, url=url)
    return found


@transaction.atomic
def apply_event(*, provider: str, event: ProviderEvent) -> str:
    """Do what a provider's signed message calls for, once; return what came of it, a stable word.

    Raises Unavailable `deposit_not_paid_yet` when money goes back of which we have not heard that it
    came: the provider sends the message again later.
    """
    kept = _keep(provider, event)
    if kept.outcome != "new":
        return "duplicate"
    kept.outcome = _apply(provider, event)
    kept.save(update_fields=["outcome"])
    return kept.outcome


@transaction.atomic
def give_up(*, deposit_id: uuid.UUID) -> None:
    """Expire a deposit of which nothing was heard for days; should its money come yet, it counts."""
    _not_paid(Deposit.objects.lock().get(pk=deposit_id), DepositState.EXPIRED)


@transaction.atomic
def note_asked(*, deposit_id: uuid.UUID) -> None:
    """The provider was asked about a deposit just now."""
    Deposit.objects.filter(pk=deposit_id).update(asked_at=clock.now())


def _keep(provider: str, event: ProviderEvent) -> PaymentEvent:
    """Write the event down; a twin that arrives meanwhile waits here until we have committed."""
    row = PaymentEvent(
        provider=provider,
        event_id=event.id,
        kind=event.kind.value,
        deposit_id=event.deposit_id,
        payment=event.payment,
        ref=event.ref,
        amount=event.amount,
        currency=event.currency[:6],
        outcome="new",
        note=event.note[:200],
        at=clock.now(),
    )
    PaymentEvent.objects.bulk_create([row], ignore_conflicts=True)
    return PaymentEvent.objects.lock().get(provider=provider, event_id=event.id)


def _apply(provider: str, event: ProviderEvent) -> str:
    if event.kind is Kind.IGNORED:
        return event.ignored
    if event.kind is Kind.REVERSED:
        return payouts.note_reversed(provider=provider, event=event)
    found = _deposit_of(provider, event)
    if found is None:
        return "deposit_unknown"
    if event.currency != found.currency:
        return "currency_differs"
    unpaid = DepositState(found.state) in UNPAID
    if event.kind is Kind.PAID:
        return _paid(found, event) if unpaid else _paid_before(found, event)
    if event.kind in {Kind.FAILED, Kind.EXPIRED}:
        return _not_paid(found, DepositState(event.kind.value), event.note)
    if unpaid:
        raise Unavailable(
            "deposit_not_paid_yet", "We have not heard of this payment; tell us again."
        )
    if event.kind is Kind.REFUNDED:
        return returns.note_refunded(found, event)
    if event.kind is Kind.BOUNCED:
        return returns.note_bounced(found, event)
    return takebacks.follow_dispute(found, event)


def _deposit_of(provider: str, event: ProviderEvent) -> Deposit | None:
    """Return the locked deposit that an event names, by its id or by its payment."""
    mine = Deposit.objects.lock().filter(provider=provider)
    if event.deposit_id:
        return mine.filter(pk=event.deposit_id).first()
    return mine.filter(payment=event.payment).first() if event.payment else None


def _paid(found: Deposit, event: ProviderEvent) -> str:
    if event.amount != found.amount:
        record_deposit(Actor.system(), found, "deposit.amount_differs", paid=event.amount)
        return "amount_differs"
    system, owner_id = Actor.system(), found.owner_id
    deposit(
        actor=system,
        owner_id=owner_id,
        amount=found.amount,
        idem=f"deposit:{found.pk}",
        currency=found.currency,
    )
    move_deposit(system, found, DepositState.SUCCEEDED, payment=event.payment)
    takebacks.settle_debt(owner_id, found.currency)
    outbox.publish(DepositSucceeded(deposit_id=str(found.pk), owner_id=str(owner_id)))
    _catch_up(found)
    return "credited"


def _paid_before(found: Deposit, event: ProviderEvent) -> str:
    """It was credited by another message; this one may be the first that names the payment."""
    if event.payment and not found.payment:
        found.payment = event.payment
        found.save(update_fields=["payment"])
        _catch_up(found)
    return "nothing_new"


def _catch_up(found: Deposit) -> None:
    """Apply what was told of a payment before we could know whose it is."""
    early = PaymentEvent.objects.lock().filter(
        provider=found.provider, payment=found.payment, outcome="deposit_unknown"
    )
    # A dispute's end may have come before its beginning: both together tell the whole.
    order = [Kind.REFUNDED, Kind.BOUNCED, Kind.DISPUTED, Kind.DISPUTE_LOST, Kind.DISPUTE_WON]
    rows = [row for row in early if found.payment and Kind(row.kind) in order]
    for row in sorted(rows, key=lambda row: order.index(Kind(row.kind))):
        event = ProviderEvent(
            id=row.event_id,
            kind=Kind(row.kind),
            amount=row.amount,
            currency=row.currency,
            ref=row.ref,
            payment=row.payment,
        )
        row.outcome = _apply(found.provider, event)
        row.save(update_fields=["outcome"])


def _not_paid(found: Deposit, to: DepositState, why: str = "") -> str:
    still = {
        DepositState.FAILED: {"created", "pending"},
        DepositState.EXPIRED: {"created", "pending", "failed"},
    }
    if found.state not in still[to]:
        return "nothing_new"
    in_flight = found.state in still[DepositState.FAILED]
    move_deposit(Actor.system(), found, to)
    if found.auto and in_flight:
        count_decline(found, why or "The payment failed.")
    return to.value
