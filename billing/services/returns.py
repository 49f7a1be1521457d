"""Deposits that staff send back to where they came from, whole or in part. Nano-units.

The amount leaves the wallet when it is decided, so nothing can spend it meanwhile, and comes back if the provider
will not send it. What the provider tells of it afterwards, in any order and how often, moves nothing twice: it is
counted in `refunded` of the deposit already.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger
from billing.events import DepositReturnChanged
from billing.machine import DepositState, ReturnState
from billing.models import AccountKind, Deposit, DepositReturn, PaymentEvent, Transfer
from billing.providers.base import Kind, ProviderEvent
from billing.services import takebacks
from billing.services.refunds import claimant, parse_reason
from billing.services.wallets import announce, wallet_of
from core import clock, idempotency, money, outbox
from core.errors import Conflict, FundsInsufficient, Invalid, NotFound, Unavailable
from core.ids import new_id

CENT = money.NANO // 100
NOTE_LENGTH = 400


@transaction.atomic
def return_deposit(
    *,
    actor: Actor,
    deposit_id: uuid.UUID,
    amount: int | None,
    reason: str,
    idempotency_key: str,
) -> DepositReturn:
    """Decide that `amount` (nano-units, whole cents; None: all that is left) goes back to the payer.

    The same key gives the same return. Raises NotFound `deposit_unknown`; Invalid `amount_range`,
    `reason_missing`; Conflict `deposit_not_returnable`, `return_exceeds_deposit`; FundsInsufficient
    `return_exceeds_wallet`.
    """
    actor.require("staff")
    reason = parse_reason(reason)
    found = Deposit.objects.lock().filter(pk=deposit_id).first()
    if found is None:
        raise NotFound("deposit_unknown", "There is no such deposit.")
    if amount is not None and (amount <= 0 or amount % CENT):
        raise Invalid("amount_range", "Send back more than nothing, in whole cents.")
    return_id = new_id()
    first = idempotency.claim(
        owner_id=claimant(actor),
        key=idempotency_key,
        body=f"return {deposit_id} {amount}",
        subject_id=return_id,
    )
    if first != return_id:
        return DepositReturn.objects.get(pk=first)
    _require_returnable(actor, found)
    now = clock.now()
    made = DepositReturn.objects.create(
        id=return_id,
        deposit=found,
        amount=_fitting(found, amount),
        reason=reason,
        state=ReturnState.DECIDED.value,
        created_at=now,
        changed_at=now,
    )
    _take(found, made)
    _tell(actor, made)
    return made


def _fitting(found: Deposit, amount: int | None) -> int:
    """Return how much goes back; never more than has not gone back yet."""
    left = takebacks.left_of(found)
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        told = money.decimal_string(left)
        raise Conflict(
            "return_exceeds_deposit",
            f"Only {told} of this deposit have not gone back yet.",
            left=told,
        )
    return wanted


def _require_returnable(actor: Actor, found: Deposit) -> None:
    if actor.kind != "system" and found.owner_id == actor.user_id:
        raise Conflict("return_own", "Somebody else has to send your own deposit back.")
    ours = found.provider == settings.DC.payments and bool(found.payment)
    if DepositState(found.state) is not DepositState.SUCCEEDED or not ours:
        raise Conflict(
            "deposit_not_returnable",
            "Only a paid deposit that is not disputed goes back, by the provider that took it.",
            state=found.state,
        )


def _take(found: Deposit, made: DepositReturn) -> None:
    """Take it out of the wallet; only what is free may go."""
    wallet = wallet_of(found.owner_id, found.currency)
    free = max(0, ledger.free(wallet))
    if wallet.frozen or made.amount > free:
        told = money.decimal_string(0 if wallet.frozen else free)
        raise FundsInsufficient(
            "return_exceeds_wallet",
            f"Only {told} {found.currency} of it are free in the wallet; the rest is used or set aside.",
            available=told,
            currency=found.currency,
        )
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    _post(made, wallet, gateway, "returned")
    _count(found, made.amount)
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)


@transaction.atomic
def note_returned(*, return_id: uuid.UUID, ref: str) -> None:
    """The provider has sent it; harmless the second time."""
    made = _locked(return_id)
    if ReturnState(made.state) is ReturnState.DECIDED:
        _move(made, ReturnState.SENT, ref=ref)


@transaction.atomic
def note_not_returned(*, return_id: uuid.UUID, why: str) -> None:
    """The provider will never send this; it is in the wallet again. Harmless the second time."""
    made = _locked(return_id)
    if ReturnState(made.state) is ReturnState.DECIDED:
        _undo(made, why)
        _catch_up(made.deposit)


def note_bounced(found: Deposit, event: ProviderEvent) -> str:
    """What was sent back did not arrive and is with the provider again; `found` is the locked deposit.

    Raises Unavailable `return_not_sent_yet` while we have not heard how it is called: tell us again.
    """
    made = DepositReturn.objects.lock().filter(deposit=found, ref=event.ref).first()
    if made is None:
        if DepositReturn.objects.filter(deposit=found, state=ReturnState.DECIDED.value).exists():
            raise Unavailable("return_not_sent_yet", "We do not know this refund; tell us again.")
        return "refund_unknown"
    if ReturnState(made.state) is not ReturnState.SENT:
        return "nothing_new"
    made.deposit = found
    _undo(made, "The payer's bank did not take it.")
    return event.kind.value


def returns_of(*, deposit_id: uuid.UUID) -> list[DepositReturn]:
    """Return what of a deposit goes back by our decision, oldest first."""
    rows = DepositReturn.objects.filter(deposit_id=deposit_id).select_related("deposit")
    return list(rows.order_by("created_at"))


def _locked(return_id: uuid.UUID) -> DepositReturn:
    deposit_id = DepositReturn.objects.values_list("deposit_id", flat=True).get(pk=return_id)
    found = Deposit.objects.lock().get(pk=deposit_id)
    made = DepositReturn.objects.lock().get(pk=return_id)
    made.deposit = found
    return made


def _undo(made: DepositReturn, why: str) -> None:
    found = made.deposit
    wallet = wallet_of(found.owner_id, found.currency)
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    _post(made, gateway, wallet, "return_undone")
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)
    _move(made, ReturnState.FAILED, note=why[:NOTE_LENGTH])
    _count(found, -made.amount)
    takebacks.settle_debt(found.owner_id, found.currency)


def _count(found: Deposit, amount: int) -> None:
    found.refunded += amount
    found.save(update_fields=["refunded"])
    takebacks.restate(found)


def _catch_up(found: Deposit) -> None:
    """Take what the provider has sent back by itself, and which we took for ours while that was open."""
    told = PaymentEvent.objects.filter(deposit_id=found.pk, kind=Kind.REFUNDED.value)
    most = max(told.values_list("amount", flat=True), default=0)
    if most > found.refunded:
        event = ProviderEvent(
            id="", kind=Kind.REFUNDED, deposit_id=found.pk, amount=most, currency=found.currency
        )
        takebacks.go_back(found, event)


def _post(made: DepositReturn, src: Any, dst: Any, kind: str) -> None:
    row = Transfer(
        group_id=made.pk, src=src, dst=dst, amount=made.amount, kind=kind,
        idem=f"{kind}:{made.pk}", created_at=clock.now(),
    )  # fmt: skip
    Transfer.objects.bulk_create([row])


def _move(made: DepositReturn, to: ReturnState, **fields: Any) -> None:
    fields = {"changed_at": clock.now(), **fields}
    if not DepositReturn.objects.move(made.pk, ReturnState(made.state), to, **fields):
        raise RuntimeError(f"{made} is locked, yet it is no longer {made.state}")
    found = made.deposit
    made.refresh_from_db()
    made.deposit = found
    _tell(Actor.system(), made)


def _tell(actor: Actor, made: DepositReturn) -> None:
    audit.record(
        actor=actor,
        verb=f"deposit.return_{made.state}",
        subject_type="deposit",
        subject_id=made.deposit_id,
        data={
            "return": str(made.pk),
            "amount": made.amount,
            "reason": made.reason,
            "ref": made.ref,
            "note": made.note,
        },
    )
    owner_id = made.deposit.owner_id
    outbox.publish(
        DepositReturnChanged(return_id=str(made.pk), owner_id=str(owner_id), state=made.state)
    )
    announce(owner_id)
