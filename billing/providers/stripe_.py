"""Stripe through its own library: a Checkout session for each deposit, signed webhooks for what came of it.

Amounts are whole cents there. Our deposit's id is the idempotency key of the session and travels in the
metadata of the session and of its PaymentIntent, so that every event leads back to a deposit; disputes and
refunds carry the PaymentIntent, whose metadata Stripe copies to the charge.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import stripe

from billing.providers.base import Checkout, Forged, Kind, ProviderAway, ProviderEvent

NANO_PER_CENT = 10_000_000
TOLERANCE_SECONDS = 300
KINDS = {
    "checkout.session.completed": Kind.PAID,
    "checkout.session.async_payment_succeeded": Kind.PAID,
    "checkout.session.async_payment_failed": Kind.FAILED,
    "checkout.session.expired": Kind.EXPIRED,
    "payment_intent.payment_failed": Kind.FAILED,
    "charge.refunded": Kind.REFUNDED,
    "charge.dispute.created": Kind.DISPUTED,
}
# How a closed dispute ended: anything but these is still open.
DISPUTE_ENDS = {
    "won": Kind.DISPUTE_WON,
    "warning_closed": Kind.DISPUTE_WON,
    "lost": Kind.DISPUTE_LOST,
}


class StripeProvider:
    """One Stripe account.

    Args:
        api_base: another address of the API (a stand-in in tests); None is Stripe's own.
    """

    name = "stripe"

    def __init__(self, *, secret_key: str, webhook_secret: str, api_base: str | None) -> None:
        addresses: Any = {"api": api_base} if api_base else {}
        self._client = stripe.StripeClient(
            secret_key, base_addresses=addresses, max_network_retries=2
        )
        self._webhook_secret = webhook_secret

    def open_checkout(
        self, *, deposit_id: uuid.UUID, amount: int, currency: str, email: str, back_url: str
    ) -> Checkout:
        """Return the Checkout session of a deposit; the same id gives the same session."""
        metadata = {"deposit_id": str(deposit_id)}
        price = {
            "currency": currency.lower(),
            "unit_amount": amount // NANO_PER_CENT,
            "product_data": {"name": "Balance for compute"},
        }
        params: Any = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "customer_email": email,
            "client_reference_id": str(deposit_id),
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
            "success_url": back_url,
            "cancel_url": back_url,
        }
        try:
            session = self._client.v1.checkout.sessions.create(
                params, {"idempotency_key": f"deposit-{deposit_id}"}
            )
        except stripe.StripeError as error:
            raise ProviderAway(str(error)) from error
        return Checkout(ref=session.id, url=session.url or "")

    def read_event(self, *, body: bytes, signature: str) -> ProviderEvent:
        """Return what a webhook says, its signature checked by Stripe's own helper. Raises Forged."""
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), signature, self._webhook_secret, TOLERANCE_SECONDS
            )
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise Forged(str(error)) from error
        try:
            event = json.loads(body)
            return _read(event)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Forged(f"signed, and yet no event: {error!r}") from error


def _read(event: dict[str, Any]) -> ProviderEvent:
    kind = KINDS.get(event["type"], Kind.IGNORED)
    thing = event["data"]["object"]
    if event["type"] == "charge.dispute.closed":
        kind = DISPUTE_ENDS.get(thing["status"], Kind.IGNORED)
    if event["type"] == "checkout.session.completed" and thing["payment_status"] == "unpaid":
        kind = Kind.IGNORED  # a slow way to pay: async_payment_succeeded says when it has come
    if kind is Kind.IGNORED:
        return ProviderEvent(id=event["id"], kind=kind, note=event["type"])
    return ProviderEvent(
        id=event["id"],
        kind=kind,
        deposit_id=_deposit_of(thing),
        amount=_cents(thing) * NANO_PER_CENT,
        currency=str(thing["currency"]).upper(),
        note=event["type"],
    )


def _deposit_of(thing: dict[str, Any]) -> uuid.UUID | None:
    found = (thing.get("metadata") or {}).get("deposit_id")
    try:
        return uuid.UUID(found) if found else None
    except ValueError:
        return None


def _cents(thing: dict[str, Any]) -> int:
    """Return the cents an object is about: what was refunded of a charge, what came with a session."""
    for field in ("amount_refunded", "amount_total", "amount"):
        if thing.get(field):
            return int(thing[field])
    return 0
