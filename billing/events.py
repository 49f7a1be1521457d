"""What happens to money. Ids only."""

from __future__ import annotations

from typing import ClassVar

from core.events import Event


class WalletChanged(Event, frozen=True, kw_only=True):
    """A person's balance has changed other than by the passing of time."""

    topic: ClassVar[str] = "billing.wallet_changed"
    owner_id: str


class DepositChanged(Event, frozen=True, kw_only=True):
    """A deposit has reached another state."""

    topic: ClassVar[str] = "billing.deposit_changed"
    deposit_id: str
    owner_id: str
    state: str


class WalletLow(Event, frozen=True, kw_only=True):
    """A wallet's free money ends `within` so many seconds, at `runs_out` (epoch), if nothing changes."""

    topic: ClassVar[str] = "billing.wallet_low"
    owner_id: str
    currency: str
    within: int
    runs_out: int


class TopUpFailed(Event, frozen=True, kw_only=True):
    """A wallet could not fill itself: the saved method was declined.

    `tries_again` says whether it goes on, `again` (epoch seconds) when, `tries` how often it was declined.
    """

    topic: ClassVar[str] = "billing.top_up_failed"
    owner_id: str
    deposit_id: str
    why: str
    tries: int
    tries_again: bool
    again: int


class WalletExhausted(Event, frozen=True, kw_only=True):
    """A wallet's free money was used up at `at` (epoch seconds); these subjects burn it."""

    topic: ClassVar[str] = "billing.wallet_exhausted"
    owner_id: str
    subject_ids: list[str]
    at: int


class DepositSucceeded(Event, frozen=True, kw_only=True):
    """A deposit is in the wallet of its owner."""

    topic: ClassVar[str] = "billing.deposit_succeeded"
    deposit_id: str
    owner_id: str


class PayoutChanged(Event, frozen=True, kw_only=True):
    """A payout has reached another state; `reversed` nano-units of it the provider has taken back, in all."""

    topic: ClassVar[str] = "billing.payout_changed"
    payout_id: str
    owner_id: str
    state: str
    reversed: int = 0


class RefundPosted(Event, frozen=True, kw_only=True):
    """A person was given something back: a refund by staff, a credit for a fault, an adjustment."""

    topic: ClassVar[str] = "billing.refund_posted"
    refund_id: str
    owner_id: str
    kind: str


class DepositReturnChanged(Event, frozen=True, kw_only=True):
    """A part of a deposit goes back to its payer (decided), has gone (sent), or could not (failed)."""

    topic: ClassVar[str] = "billing.deposit_return_changed"
    return_id: str
    owner_id: str
    state: str


class DisputeChanged(Event, frozen=True, kw_only=True):
    """A payer's bank asks for a deposit back (open), or has decided (won: for us, lost: for the payer)."""

    topic: ClassVar[str] = "billing.dispute_changed"
    dispute_id: str
    owner_id: str
    state: str


class InvoiceIssued(Event, frozen=True, kw_only=True):
    """An invoice, or a credit note, was issued to its owner."""

    topic: ClassVar[str] = "billing.invoice_issued"
    invoice_id: str
    owner_id: str


class WalletFroze(Event, frozen=True, kw_only=True):
    """A wallet was frozen because something is disputed or owed (nano-units), or is free again."""

    topic: ClassVar[str] = "billing.wallet_froze"
    owner_id: str
    frozen: bool
    owed: int
    at: float
