"""A provider that pretends: for demo, development and tests. Its checkout is a page of ours with a button."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid

from billing.providers.base import (
    Checkout,
    Forged,
    Kind,
    ProviderEvent,
    ProviderRefuses,
    SavedMethod,
    Sent,
)


class FakeProvider:
    """Takes no money at all; its events are signed all the same, so that the door is the real one."""

    name = "fake"

    def __init__(self, *, signing_key: str) -> None:
        self._key = f"fake-payments:{signing_key}".encode()

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
        """Return our own page."""
        return Checkout(ref=f"fake-{deposit_id}", url=f"{back_url}fake/")

    def sign(self, body: bytes) -> str:
        """Return the signature of an event."""
        return hmac.new(self._key, body, hashlib.sha256).hexdigest()

    def paid(self, *, deposit_id: uuid.UUID, amount: int, currency: str) -> bytes:
        """Return the body of the event that says a deposit was paid."""
        event = {
            "id": f"fake-paid-{deposit_id}",
            "kind": Kind.PAID.value,
            "deposit_id": str(deposit_id),
            "amount": amount,
            "currency": currency,
        }
        return json.dumps(event).encode()

    def read_event(self, *, body: bytes, signature: str) -> ProviderEvent:
        """Return what an event says. Raises Forged."""
        if not hmac.compare_digest(self.sign(body).encode(), signature.encode("utf-8", "replace")):
            raise Forged("the signature is not ours")
        event = json.loads(body)
        return ProviderEvent(
            id=event["id"],
            kind=Kind(event["kind"]),
            deposit_id=uuid.UUID(event["deposit_id"]),
            amount=event["amount"],
            currency=event["currency"],
            payment=f"fake-payment-{event['deposit_id']}",
        )

    def saved_method(self, *, ref: str) -> SavedMethod | None:
        """Pretend to have a card."""
        return SavedMethod("fake-customer", "fake-card")

    def charge_saved(
        self, *, deposit_id: uuid.UUID, amount: int, currency: str, saved: SavedMethod
    ) -> ProviderEvent | None:
        """Pretend to charge the card; one that is called `declined` is."""
        if saved.method == "declined":
            raise ProviderRefuses("The card was declined.")
        body = self.paid(deposit_id=deposit_id, amount=amount, currency=currency)
        return self.read_event(body=body, signature=self.sign(body))

    def find_charge(
        self, *, deposit_id: uuid.UUID, currency: str, customer: str, since: int
    ) -> ProviderEvent | None:
        """Know nothing: whoever was charged here has been told of already."""
        return None

    def give_back(self, *, return_id: uuid.UUID, payment: str, amount: int, currency: str) -> Sent:
        """Pretend."""
        return Sent(f"fake-back-{return_id}")

    def find_back(self, *, return_id: uuid.UUID, payment: str) -> Sent | None:
        """Know nothing: to pretend again does no harm."""
        return None

    def ask(self, *, ref: str) -> ProviderEvent | None:
        """Know nothing: whoever pays here has told already."""
        return None
