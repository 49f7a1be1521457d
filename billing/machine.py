"""The life of a deposit, and the legal moves in it. Pure."""

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


DEPOSIT = Table[DepositState](
    "Deposit",
    {
        DepositState.CREATED: {DepositState.PENDING, DepositState.SUCCEEDED, DepositState.FAILED},
        DepositState.PENDING: {
            DepositState.SUCCEEDED,
            DepositState.FAILED,
            DepositState.EXPIRED,
        },
        # A payer tries again with another card, or pays in the last moment: money that came is money.
        DepositState.FAILED: {DepositState.SUCCEEDED, DepositState.EXPIRED},
        DepositState.EXPIRED: {DepositState.SUCCEEDED},
        DepositState.SUCCEEDED: {DepositState.REFUNDED, DepositState.DISPUTED},
        DepositState.DISPUTED: {DepositState.SUCCEEDED, DepositState.LOST},
        DepositState.REFUNDED: set(),
        DepositState.LOST: set(),
    },
)
