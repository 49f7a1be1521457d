"""What people are told of their money. Called by the outbox's handlers, so nothing here is locked."""

from __future__ import annotations

import uuid

from accounts import services as accounts
from billing.machine import DisputeState
from billing.models import Deposit, Dispute, Invoice
from core import clock


def tell_of_deposit(*, deposit_id: uuid.UUID, failed: bool) -> None:
    """Say that what somebody paid in has come, or that it did not work."""
    found = Deposit.objects.get(pk=deposit_id)
    accounts.notify(
        user_id=found.owner_id,
        code="deposit_failed" if failed else "deposit_received",
        key=str(deposit_id),
        subject_id=deposit_id,
        params={"amount": found.amount, "at": clock.to_epoch(found.changed_at)},
    )


def tell_of_dispute(*, dispute_id: uuid.UUID, state: str) -> None:
    """Say that a bank asks for a payment back, or what it has decided."""
    found = Dispute.objects.select_related("deposit").get(pk=dispute_id)
    code = {
        DisputeState.OPEN: "dispute_opened",
        DisputeState.WON: "dispute_won",
        DisputeState.LOST: "dispute_lost",
    }[DisputeState(state)]
    accounts.notify(
        user_id=found.deposit.owner_id,
        code=code,
        key=str(dispute_id),
        subject_id=found.deposit_id,
        params={"amount": found.amount},
    )


def tell_of_frost(*, owner_id: uuid.UUID, frozen: bool, owed: int, at: float) -> None:
    """Say that a wallet is frozen, owing so much (nano-units), or can be used again."""
    accounts.notify(
        user_id=owner_id,
        code="wallet_frozen" if frozen else "wallet_thawed",
        key=str(at),
        params={"at": int(at), "owed": owed},
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
            "month": f"{found.month_id:%Y-%m}",
        },
    )
