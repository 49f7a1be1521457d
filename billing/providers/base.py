"""What every provider of payments can do."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ProviderAway(Exception):
    """The provider does not answer, or not usefully; asking again with the same deposit is safe."""


class ProviderRefuses(ProviderAway):
    """The provider answers that this one request is wrong; others may be fine."""


class Forged(Exception):
    """A message that claims to come from the provider, and does not."""


class Kind(StrEnum):
    """What an event of a provider means for a deposit, or for a payout."""

    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    # What we sent back to a payer did not arrive.
    BOUNCED = "bounced"
    # What we paid a host was taken back.
    REVERSED = "reversed"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Checkout:
    """Where the payer goes. `ref` names the payment at the provider."""

    ref: str
    url: str


@dataclass(frozen=True)
class ProviderEvent:
    """One signed message, or one answer to our own question.

    Args:
        deposit_id: None when it names none of ours.
        payout_id: of a reversed payout, the payout.
        return_id: of a refund that we asked for, the return.
        amount: nano-units of `currency`; of reversals, how much in all.
        ref: what it is about at the provider: a checkout, a payment, a refund, a dispute.
        payment: the payment it belongs to; that of a dispute is its only way to a deposit.
        ignored: why it means nothing to us, a stable word.
    """

    id: str
    kind: Kind
    deposit_id: uuid.UUID | None = None
    amount: int = 0
    currency: str = ""
    ref: str = ""
    payment: str = ""
    note: str = ""
    ignored: str = "ignored"
    payout_id: uuid.UUID | None = None
    return_id: uuid.UUID | None = None


@dataclass(frozen=True)
class SavedMethod:
    """A payment method that may be charged again, as the provider calls it and its payer."""

    customer: str
    method: str


@dataclass(frozen=True)
class Sent:
    """A payout, or what goes back to a payer, as the provider knows it."""

    ref: str


class PayoutProvider(Protocol):
    """One way to pay hosts. `manual`: a person does it, and says so."""

    name: str
    manual: bool

    def check_destination(self, given: str) -> bool:
        """Say whether this can be where money goes to; asks nobody."""

    def send(self, *, payout_id: uuid.UUID, amount: int, currency: str, destination: str) -> Sent:
        """Pay; asked twice, once. Blocks. Raises ProviderAway (ask again), ProviderRefuses (never)."""

    def find(self, *, payout_id: uuid.UUID) -> Sent | None:
        """Return a payout that was sent, None when there is none. Blocks. Raises ProviderAway."""


class Provider(Protocol):
    """One way to pay."""

    name: str

    def open_checkout(
        self,
        *,
        deposit_id: uuid.UUID,
        amount: int,
        currency: str,
        email: str,
        back_url: str,
        remember: bool = False,
    ) -> Checkout:
        """Return the checkout of a deposit; asked twice, the same one. Blocks. Raises ProviderAway.

        `remember`: the payer lets the method be charged again.
        """

    def saved_method(self, *, ref: str) -> SavedMethod | None:
        """Return what a paid checkout may be charged again by. Blocks. Raises ProviderAway."""

    def charge_saved(
        self, *, deposit_id: uuid.UUID, amount: int, currency: str, saved: SavedMethod
    ) -> ProviderEvent | None:
        """Charge it for a deposit; asked twice, once; None while it is not known. Blocks.

        Raises ProviderAway (ask again), ProviderRefuses (it was declined).
        """

    def find_charge(
        self, *, deposit_id: uuid.UUID, currency: str, customer: str, since: int
    ) -> ProviderEvent | None:
        """Return what came of a charge of a saved method: paid, failed, or expired when it was never asked for.

        `since`: an epoch second before it was asked for. None while it is not known. Blocks. Raises ProviderAway.
        """

    def read_event(self, *, body: bytes, signature: str) -> ProviderEvent:
        """Return what a webhook says. Raises Forged."""

    def give_back(self, *, return_id: uuid.UUID, payment: str, amount: int, currency: str) -> Sent:
        """Send a part of a payment back; asked twice, once. Blocks.

        Raises ProviderAway (ask again), ProviderRefuses (never).
        """

    def find_back(self, *, return_id: uuid.UUID, payment: str) -> Sent | None:
        """Return what was sent back, None when nothing was. Blocks. Raises ProviderAway."""

    def ask(self, *, ref: str) -> ProviderEvent | None:
        """Return what has come of a checkout, None while nothing has. Blocks. Raises ProviderAway."""
