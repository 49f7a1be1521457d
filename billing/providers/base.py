"""What every provider of payments can do."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ProviderAway(Exception):
    """The provider does not answer, or not usefully; asking again with the same deposit is safe."""


class Forged(Exception):
    """A message that claims to come from the provider, and does not."""


class Kind(StrEnum):
    """What an event of a provider means for a deposit."""

    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Checkout:
    """Where the payer goes. `ref` names the payment at the provider."""

    ref: str
    url: str


@dataclass(frozen=True)
class ProviderEvent:
    """One signed message. `amount` in nano-units of `currency`; `deposit_id` None when it names none of ours."""

    id: str
    kind: Kind
    deposit_id: uuid.UUID | None = None
    amount: int = 0
    currency: str = ""
    note: str = ""


class Provider(Protocol):
    """One way to pay."""

    name: str

    def open_checkout(
        self, *, deposit_id: uuid.UUID, amount: int, currency: str, email: str, back_url: str
    ) -> Checkout:
        """Return the checkout of a deposit; asked twice, the same one. Blocks. Raises ProviderAway."""

    def read_event(self, *, body: bytes, signature: str) -> ProviderEvent:
        """Return what a webhook says. Raises Forged."""
