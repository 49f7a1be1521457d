"""The lives of deposits, disputes, returns and payouts, and the legal moves in them. Pure."""

from __future__ import annotations

from enum import StrEnum

from core.machine import Table


class DepositState(StrEnum):
    CREATED = "created"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    LOST = "lost"


# Money came, whatever became of it since.
PAID_IN = frozenset(
    {DepositState.SUCCEEDED, DepositState.REFUNDED, DepositState.DISPUTED, DepositState.LOST}
)
DEPOSIT = Table[DepositState](
    "Deposit",
    {
        DepositState.CREATED: {
            DepositState.PENDING,
            DepositState.SUCCEEDED,
            DepositState.FAILED,
            DepositState.EXPIRED,
        },
        DepositState.PENDING: {
            DepositState.SUCCEEDED,
            DepositState.FAILED,
            DepositState.EXPIRED,
        },
        # A payer tries again with another card, or pays in the last moment: money that came is money.
        DepositState.FAILED: {DepositState.SUCCEEDED, DepositState.EXPIRED},
        DepositState.EXPIRED: {DepositState.SUCCEEDED},
        DepositState.SUCCEEDED: {DepositState.REFUNDED, DepositState.DISPUTED},
        DepositState.DISPUTED: {DepositState.SUCCEEDED, DepositState.LOST, DepositState.REFUNDED},
        # What was sent back and did not arrive is with us again.
        DepositState.REFUNDED: {DepositState.DISPUTED, DepositState.SUCCEEDED},
        # Banks reopen what they have decided.
        DepositState.LOST: {DepositState.SUCCEEDED, DepositState.DISPUTED, DepositState.REFUNDED},
    },
)


class DisputeState(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


DISPUTE = Table[DisputeState](
    "Dispute",
    {
        DisputeState.OPEN: {DisputeState.WON, DisputeState.LOST},
        DisputeState.WON: set(),
        # The bank gave the money back after all.
        DisputeState.LOST: {DisputeState.WON},
    },
)


class ReturnState(StrEnum):
    DECIDED = "decided"
    SENT = "sent"
    FAILED = "failed"


RETURN = Table[ReturnState](
    "Return of a deposit",
    {
        ReturnState.DECIDED: {ReturnState.SENT, ReturnState.FAILED},
        # The payer's bank did not take it.
        ReturnState.SENT: {ReturnState.FAILED},
        ReturnState.FAILED: set(),
    },
)


class PayoutState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    SENDING = "sending"
    PAID = "paid"
    REFUSED = "refused"
    FAILED = "failed"
    REVERSED = "reversed"


PAYOUT = Table[PayoutState](
    "Payout",
    {
        PayoutState.REQUESTED: {PayoutState.APPROVED, PayoutState.REFUSED},
        PayoutState.APPROVED: {PayoutState.SENDING, PayoutState.REFUSED},
        # The provider was or is being told: only what it says ends this.
        PayoutState.SENDING: {PayoutState.PAID, PayoutState.FAILED},
        # The provider took all of it back.
        PayoutState.PAID: {PayoutState.REVERSED},
        PayoutState.REVERSED: set(),
        PayoutState.REFUSED: set(),
        PayoutState.FAILED: set(),
    },
)
