"""Deposits that go back to where they came from, whole or in part. Nano-units.

What staff decide leaves the wallet at once, so nothing can spend it meanwhile, and comes back if the provider will
not send it. What is refunded at the provider's own pages is followed the same way. Each is known by the provider's
name for it, so what is told of it, in any order and how often, moves nothing twice.
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
from billing.models import Deposit, DepositReturn
from billing.providers.base import ProviderEvent
from billing.services import takebacks
from billing.services.declines import WENT_BACK, stop_filling
from billing.services.refunds import claimant, parse_reason
from billing.services.wallets import announce, wallet_of
from core import clock, idempotency, money, outbox
from core.errors import Conflict, FundsInsufficient, Invalid, NotFound
from core.ids import new_id

CENT = money.NANO // 100
NOTE_LENGTH = 400
BY_PROVIDER = "Refunded at the provider"
NOT_TAKEN = "The payer's bank did not take it."


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
    fitting = _fitting(found, amount)
    # Before the wallet: a top-up locks its rule and then the wallet.
    stop_filling(actor, found.owner_id, WENT_BACK)
    _require_free(found, fitting)
    made = _write(
        found, ReturnState.DECIDED, id=return_id, asked=fitting, amount=fitting, reason=reason
    )
    takebacks.take(found, made.pk, fitting, "returned")
    _count(found, fitting)
    takebacks.restate(found)
    _tell(actor, made)
    return made


def _write(found: Deposit, state: ReturnState, **fields: Any) -> DepositReturn:
    now = clock.now()
    return DepositReturn.objects.create(
        deposit=found, state=state.value, created_at=now, changed_at=now, **fields
    )


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


def _require_free(found: Deposit, amount: int) -> None:
    """What staff send back leaves no debt: only what is free may go."""
    wallet = wallet_of(found.owner_id, found.currency)
    free = max(0, ledger.free(wallet))
    if wallet.frozen or amount > free:
        told = money.decimal_string(0 if wallet.frozen else free)
        raise FundsInsufficient(
            "return_exceeds_wallet",
            f"Only {told} {found.currency} of it are free in the wallet; the rest is used or set aside.",
            available=told,
            currency=found.currency,
        )


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
        _undo(made, note=why[:NOTE_LENGTH])


def note_refunded(found: Deposit, event: ProviderEvent) -> str:
    """A refund of a paid, locked deposit is on its way, by our decision or by somebody at the provider's pages."""
    made = _named(found, event)
    if made is None:
        made = _write(
            found,
            ReturnState.SENT,
            asked=max(0, min(event.amount, found.amount)),
            amount=0,
            ref=event.ref,
            reason=BY_PROVIDER,
        )
        stop_filling(Actor.system(), found.owner_id, WENT_BACK)
        takebacks.settle(found)
        made.refresh_from_db(fields=["amount"])
        _tell(Actor.system(), made)
    elif ReturnState(made.state) is ReturnState.DECIDED:
        _move(made, ReturnState.SENT, ref=event.ref)
    else:
        return "nothing_new"
    return event.kind.value


def note_bounced(found: Deposit, event: ProviderEvent) -> str:
    """What was sent back did not arrive and is with the provider again; `found` is the locked deposit."""
    made = _named(found, event)
    if made is None:
        # Its beginning comes later, and must take nothing then.
        asked = max(0, min(event.amount, found.amount))
        _write(
            found, ReturnState.FAILED, asked=asked, amount=0, ref=event.ref, reason=BY_PROVIDER,
            note=NOT_TAKEN,
        )  # fmt: skip
    elif ReturnState(made.state) is ReturnState.FAILED:
        return "nothing_new"
    else:
        _undo(made, ref=event.ref, note=NOT_TAKEN)
    return event.kind.value


def _named(found: Deposit, event: ProviderEvent) -> DepositReturn | None:
    """Return the return that an event is about: ours by the id that we gave it, others by their name."""
    mine = DepositReturn.objects.lock().filter(deposit=found)
    made = mine.filter(pk=event.return_id).first() if event.return_id else None
    made = made or mine.filter(ref=event.ref).first()
    if made is not None:
        made.deposit = found
    return made


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


def _undo(made: DepositReturn, **fields: Any) -> None:
    """Put it back into the wallet, or to whom else of the payer's banks still asks for it."""
    found = made.deposit
    takebacks.give_back(found, made.pk, taken="returned", given="return_undone")
    _move(made, ReturnState.FAILED, **fields)
    _count(found, -made.amount)
    takebacks.settle(found)


def _count(found: Deposit, amount: int) -> None:
    found.refunded += amount
    found.save(update_fields=["refunded"])


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
