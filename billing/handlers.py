"""What is told of money when it has moved."""

from __future__ import annotations

import uuid

from billing import services
from billing.events import (
    DepositChanged,
    DepositReturnChanged,
    DepositSucceeded,
    DisputeChanged,
    InvoiceIssued,
    PayoutChanged,
    RefundPosted,
    TopUpFailed,
    WalletFroze,
    WalletLow,
)
from billing.machine import DepositState
from core.outbox import on


@on(DepositSucceeded)
def tell_of_money(event: DepositSucceeded) -> None:
    services.tell_of_deposit(deposit_id=uuid.UUID(event.deposit_id), failed=False)


@on(DepositChanged)
def tell_of_failure(event: DepositChanged) -> None:
    if DepositState(event.state) is DepositState.FAILED:
        services.tell_of_deposit(deposit_id=uuid.UUID(event.deposit_id), failed=True)


@on(DisputeChanged)
def tell_of_dispute(event: DisputeChanged) -> None:
    services.tell_of_dispute(dispute_id=uuid.UUID(event.dispute_id), state=event.state)


@on(WalletFroze)
def tell_of_frost(event: WalletFroze) -> None:
    services.tell_of_frost(
        owner_id=uuid.UUID(event.owner_id), frozen=event.frozen, owed=event.owed, at=event.at
    )


@on(InvoiceIssued)
def tell_of_invoice(event: InvoiceIssued) -> None:
    services.tell_of_invoice(invoice_id=uuid.UUID(event.invoice_id))


@on(WalletLow)
def tell_of_low(event: WalletLow) -> None:
    services.tell_of_low(
        owner_id=uuid.UUID(event.owner_id), within=event.within, runs_out=event.runs_out
    )


@on(TopUpFailed)
def tell_of_top_up(event: TopUpFailed) -> None:
    services.tell_of_top_up(
        deposit_id=uuid.UUID(event.deposit_id),
        why=event.why,
        tries=event.tries,
        again=event.again if event.tries_again else None,
    )


@on(PayoutChanged)
def tell_of_payout(event: PayoutChanged) -> None:
    services.tell_of_payout(
        payout_id=uuid.UUID(event.payout_id), state=event.state, reversed=event.reversed
    )


@on(DepositReturnChanged)
def tell_of_return(event: DepositReturnChanged) -> None:
    services.tell_of_return(return_id=uuid.UUID(event.return_id), state=event.state)


@on(RefundPosted)
def tell_of_refund(event: RefundPosted) -> None:
    services.tell_of_refund(refund_id=uuid.UUID(event.refund_id))
