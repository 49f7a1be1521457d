"""Money that comes from outside: requested here, paid elsewhere, believed only when the provider says so.

What goes back to a card (a refund, a dispute) leaves the wallet as far as its free money goes; the rest
becomes a receivable: a wallet is never below zero. While something is owed or disputed the wallet is
frozen, and the next money that comes pays the debt first.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import ledger
from billing.events import DepositChanged
from billing.machine import DepositState
from billing.models import Account, AccountKind, Deposit, PaymentEvent, Transfer
from billing.providers.base import Kind, ProviderEvent
from billing.services import amounts
from billing.services.wallets import announce, deposit, wallet_of
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
    *, actor: Actor, amount: int, idempotency_key: str, currency: str | None = None
) -> Deposit:
    """Write down that somebody wants to pay `amount` (nano-units, whole cents); no money has moved.

    The same key gives the same deposit. Raises Invalid `amount_range`, `currency_not_sold`.
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
        state=DepositState.CREATED.value,
        created_at=now,
        changed_at=now,
    )
    _record(actor, made, "deposit.created")
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
        _move(Actor.system(), found, DepositState.PENDING, ref=ref, url=url)
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


def _keep(provider: str, event: ProviderEvent) -> PaymentEvent:
    """Write the event down; a twin that arrives meanwhile waits here until we have committed."""
    row = PaymentEvent(
        provider=provider,
        event_id=event.id,
        kind=event.kind.value,
        deposit_id=event.deposit_id,
        outcome="new",
        note=event.note[:200],
        at=clock.now(),
    )
    PaymentEvent.objects.bulk_create([row], ignore_conflicts=True)
    return PaymentEvent.objects.lock().get(provider=provider, event_id=event.id)


def _apply(provider: str, event: ProviderEvent) -> str:
    if event.kind is Kind.IGNORED:
        return "ignored"
    mine = Deposit.objects.lock().filter(provider=provider)
    found = mine.filter(pk=event.deposit_id).first() if event.deposit_id else None
    if found is None:
        return "deposit_unknown"
    if event.currency != found.currency:
        return "currency_differs"
    unpaid = DepositState(found.state) in UNPAID
    if event.kind is Kind.PAID:
        return _paid(found, event) if unpaid else "nothing_new"
    if event.kind in {Kind.FAILED, Kind.EXPIRED}:
        return _not_paid(found, DepositState(event.kind.value))
    if unpaid:
        raise Unavailable(
            "deposit_not_paid_yet", "We have not heard of this payment; tell us again."
        )
    return _goes_back(found, event)


def _paid(found: Deposit, event: ProviderEvent) -> str:
    if event.amount != found.amount:
        _record(Actor.system(), found, "deposit.amount_differs", paid=event.amount)
        return "amount_differs"
    system = Actor.system()
    deposit(actor=system, owner_id=found.owner_id, amount=found.amount, idem=f"deposit:{found.pk}")
    _move(system, found, DepositState.SUCCEEDED)
    _settle_debt(found.owner_id)
    return "credited"


def _not_paid(found: Deposit, to: DepositState) -> str:
    still = {
        DepositState.FAILED: {"created", "pending"},
        DepositState.EXPIRED: {"pending", "failed"},
    }
    if found.state not in still[to]:
        return "nothing_new"
    _move(Actor.system(), found, to)
    return to.value


def _goes_back(found: Deposit, event: ProviderEvent) -> str:
    """Take money back that the payer's bank has, or give back what it let us keep in the end."""
    state, system = DepositState(found.state), Actor.system()
    if event.kind is Kind.REFUNDED:
        # Stripe tells how much was refunded in all; what it told before has been taken already.
        more = min(event.amount, found.amount) - found.refunded
        if more <= 0 or state is DepositState.LOST:
            return "nothing_new"
        _take_back(found, more, "refund")
        found.refunded += more
        found.save(update_fields=["refunded"])
        if found.refunded == found.amount and state is DepositState.SUCCEEDED:
            _move(system, found, DepositState.REFUNDED)
    elif event.kind is Kind.DISPUTED and state is DepositState.SUCCEEDED:
        _move(system, found, DepositState.DISPUTED)
        _take_back(found, min(event.amount, found.amount - found.refunded), "dispute")
    elif event.kind is Kind.DISPUTE_WON and state is DepositState.DISPUTED:
        _move(system, found, DepositState.SUCCEEDED)
        _give_back(found)
    elif event.kind is Kind.DISPUTE_LOST and state is DepositState.DISPUTED:
        _move(system, found, DepositState.LOST)
    else:
        return "nothing_new"
    _settle_debt(found.owner_id)
    return event.kind.value


def _take_back(found: Deposit, amount: int, kind: str) -> None:
    wallet = wallet_of(found.owner_id)
    free = min(amount, max(0, ledger.free(wallet)))
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    owed = ledger.account_of(AccountKind.RECEIVABLE, found.owner_id, found.currency)
    _post(found.pk, kind, [(wallet, gateway, free), (owed, gateway, amount - free)])
    _redraw(wallet)


def _give_back(found: Deposit) -> None:
    """Reverse what a dispute took, leg by leg."""
    legs = Transfer.objects.filter(group_id=found.pk, kind="dispute").select_related("src", "dst")
    wallet = wallet_of(found.owner_id)
    _post(found.pk, "dispute_won", [(leg.dst, leg.src, leg.amount) for leg in legs])
    _redraw(wallet)


def owed_by(*, owner_id: uuid.UUID) -> int:
    """Return what a person owes (nano-units); below zero: what is theirs and not yet in the wallet."""
    owed = ledger.account_of(AccountKind.RECEIVABLE, owner_id, settings.CURRENCY)
    sums = Transfer.objects.filter(Q(src=owed) | Q(dst=owed)).aggregate(
        out=Sum("amount", filter=Q(src=owed)), back=Sum("amount", filter=Q(dst=owed))
    )
    return int(sums["out"] or 0) - int(sums["back"] or 0)


def _settle_debt(owner_id: uuid.UUID) -> None:
    """Pay a debt from what is free, hand over what was paid too much, and freeze or thaw the wallet."""
    wallet, owed = wallet_of(owner_id), owed_by(owner_id=owner_id)
    receivable = ledger.account_of(AccountKind.RECEIVABLE, owner_id, settings.CURRENCY)
    free = max(0, ledger.free(wallet))
    if owed > 0:
        _post(new_id(), "debt_paid", [(wallet, receivable, min(free, owed))])
    elif owed < 0:
        _post(new_id(), "debt_returned", [(receivable, wallet, -owed)])
    disputed = Deposit.objects.filter(owner_id=owner_id, state=DepositState.DISPUTED.value).exists()
    wallet.frozen = disputed or owed - free > 0
    wallet.save(update_fields=["frozen"])
    _redraw(wallet)
    announce(owner_id)


def _redraw(wallet: Account) -> None:
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)


def _post(group: uuid.UUID, kind: str, legs: list[tuple[Account, Account, int]]) -> None:
    now = clock.now()
    Transfer.objects.bulk_create(
        Transfer(group_id=group, src=src, dst=dst, amount=amount, kind=kind, created_at=now)
        for src, dst, amount in legs
        if amount > 0
    )


def _move(actor: Actor, found: Deposit, to: DepositState, **fields: Any) -> None:
    """Move a locked deposit, write who did it, and tell whoever watches."""
    fields = {"changed_at": clock.now(), **fields}
    if not Deposit.objects.move(found.pk, DepositState(found.state), to, **fields):
        raise RuntimeError(f"{found} is locked, yet it is no longer {found.state}")
    found.refresh_from_db()
    _record(actor, found, f"deposit.{to.value}")
    outbox.publish(
        DepositChanged(deposit_id=str(found.pk), owner_id=str(found.owner_id), state=to.value)
    )
    announce(found.owner_id)


def _record(actor: Actor, found: Deposit, verb: str, **data: Any) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="deposit",
        subject_id=found.pk,
        data={"owner": str(found.owner_id), "amount": found.amount, **data},
    )
