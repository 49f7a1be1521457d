"""What people are told of their money. Called by the outbox's handlers, so nothing here is locked."""

from __future__ import annotations

import uuid

from django.conf import settings

from accounts import services as accounts
from accounts.notices import CATALOGUE
from billing import queries
from billing.machine import DisputeState, PayoutState, ReturnState
from billing.models import Deposit, DepositReturn, Dispute, Invoice, Payout, Refund, RefundKind
from billing.services.payouts import TAKEN_BACK
from core import clock

_GIVEN = {
    RefundKind.REFUND: "refund_received",
    RefundKind.CREDIT: "credit_received",
    RefundKind.ADJUSTMENT: "adjustment_received",
}


def tell_of_deposit(*, deposit_id: uuid.UUID, failed: bool) -> None:
    """Say that what somebody paid in has come, or that it did not work."""
    found = Deposit.objects.get(pk=deposit_id)
    accounts.notify(
        user_id=found.owner_id,
        code="deposit_failed" if failed else "deposit_received",
        key=str(deposit_id),
        subject_id=deposit_id,
        params={
            "amount": found.amount,
            "currency": found.currency,
            "at": clock.to_epoch(found.changed_at),
        },
    )


def tell_of_dispute(*, dispute_id: uuid.UUID, state: str) -> None:
    """Say that a bank asks for a payment back, or what it has decided."""
    found = Dispute.objects.select_related("deposit").get(pk=dispute_id)
    code = {
        DisputeState.OPEN: "dispute_opened",
        DisputeState.WON: "dispute_won",
        DisputeState.LOST: "dispute_lost",
    }[DisputeState(state)]
    # What a bank asks for need not have been there: some may have been sent back before.
    amount = found.amount if code == "dispute_won" else found.asked
    accounts.notify(
        user_id=found.deposit.owner_id,
        code=code,
        key=str(dispute_id),
        subject_id=found.deposit_id,
        params={"amount": amount, "currency": found.deposit.currency},
    )


def tell_of_frost(*, owner_id: uuid.UUID, frozen: bool, owed: int, at: float) -> None:
    """Say that a wallet is frozen, owing so much (nano-units), or can be used again."""
    accounts.notify(
        user_id=owner_id,
        code="wallet_frozen" if frozen else "wallet_thawed",
        key=str(at),
        # What banks ask back was paid in, and only this currency can be.
        params={"at": int(at), "owed": owed, "currency": settings.CURRENCY},
    )


def tell_of_invoice(*, invoice_id: uuid.UUID) -> None:
    """Say that an invoice or a credit note is there."""
    found = Invoice.objects.get(pk=invoice_id)
    accounts.notify(
        user_id=found.owner_id,
        code="invoice_issued",
        key=str(invoice_id),
        subject_id=invoice_id,
        params={
            "number": found.number,
            "amount": found.total,
            "currency": found.currency,
            "month": f"{found.month_id:%Y-%m}",
        },
    )


def tell_of_low(*, owner_id: uuid.UUID, within: int, runs_out: int) -> None:
    """Say that a balance ends within so many seconds, at `runs_out` (epoch)."""
    accounts.notify(
        user_id=owner_id,
        code="balance_low",
        key=f"{owner_id}:{within}:{runs_out}",
        params={"within": within, "runs_out": runs_out},
    )


def tell_of_top_up(*, deposit_id: uuid.UUID, why: str, tries: int, again: int | None) -> None:
    """Say that a wallet could not fill itself; it tries `again` (epoch seconds), or no more."""
    found = Deposit.objects.get(pk=deposit_id)
    more: dict[str, str | int] = {"tries": tries}
    if again is not None:
        more = {"amount": found.amount, "currency": found.currency, "again": again}
    accounts.notify(
        user_id=found.owner_id,
        code="top_up_given_up" if again is None else "top_up_failed",
        key=str(deposit_id),
        params={"why": sentence(why) or "Your payment method was declined.", **more},
    )


def tell_of_return(*, return_id: uuid.UUID, state: str) -> None:
    """Say that a deposit goes back to its payer, or that it could not."""
    found = DepositReturn.objects.select_related("deposit").get(pk=return_id)
    code = {ReturnState.DECIDED: "deposit_returned", ReturnState.FAILED: "deposit_not_returned"}
    if ReturnState(state) not in code:
        return
    accounts.notify(
        user_id=found.deposit.owner_id,
        code=code[ReturnState(state)],
        key=str(return_id),
        subject_id=found.deposit_id,
        params={
            "amount": found.amount,
            "currency": found.deposit.currency,
            "why": sentence(found.note or found.reason),
        },
    )


def tell_of_payout(*, payout_id: uuid.UUID, state: str, reversed: int) -> None:
    """Tell a host what has become of a payout; what the host has taken back is no news."""
    found = Payout.objects.get(pk=payout_id)
    code = f"payout_{state}"
    if code not in CATALOGUE or (state == PayoutState.REFUSED and found.note == TAKEN_BACK):
        return
    accounts.notify(
        user_id=found.owner_id,
        code=code,
        key=f"{payout_id}:{reversed}",
        params={
            "amount": reversed or found.amount,
            "currency": found.currency,
            "hint": found.hint,
            "at": clock.to_epoch(found.changed_at),
            "ref": found.ref,
            "why": sentence(found.note),
        },
    )


def tell_of_refund(*, refund_id: uuid.UUID) -> None:
    """Tell who was given something back, and the hosts whose earnings paid for it."""
    found = Refund.objects.get(pk=refund_id)
    more: dict[str, str | int] = {"currency": found.currency, "why": sentence(found.reason)}
    accounts.notify(
        user_id=found.owner_id,
        code=_GIVEN[RefundKind(found.kind)],
        key=str(refund_id),
        subject_id=found.subject_id,
        params={"amount": found.amount, **more},
    )
    for host_id, amount in queries.paid_by_hosts(group_id=refund_id):
        accounts.notify(
            user_id=host_id,
            code="earnings_taken",
            key=str(refund_id),
            params={"amount": amount, **more},
        )


def sentence(text: str) -> str:
    """Return what somebody has written as a sentence of its own."""
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?", "…")) else f"{text}."
