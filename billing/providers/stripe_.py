"""Stripe through its own library: a Checkout session for each deposit, signed webhooks for what came of it.

Amounts are whole cents there. Our deposit's id is the idempotency key of the session and travels in the
metadata of the session and of its PaymentIntent, which Stripe copies to the charge. A dispute carries no
metadata of ours: it names the PaymentIntent, which the deposit has kept since it was paid.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from billing.providers.base import (
    Checkout,
    Forged,
    Kind,
    ProviderAway,
    ProviderEvent,
    ProviderRefuses,
    SavedMethod,
    Sent,
)

NANO_PER_CENT = 10_000_000
TOLERANCE_SECONDS = 300
TIMEOUT_SECONDS = 15
# What each type of event means, and the field that says how much.
KINDS = {
    "checkout.session.completed": (Kind.PAID, "amount_total"),
    "checkout.session.async_payment_succeeded": (Kind.PAID, "amount_total"),
    "checkout.session.async_payment_failed": (Kind.FAILED, "amount_total"),
    "checkout.session.expired": (Kind.EXPIRED, "amount_total"),
    "payment_intent.succeeded": (Kind.PAID, "amount_received"),
    "payment_intent.payment_failed": (Kind.FAILED, "amount"),
    # Each refund by its own name: the sum that `charge.refunded` tells does not say which of them bounced.
    "refund.created": (Kind.REFUNDED, "amount"),
    "refund.updated": (Kind.REFUNDED, "amount"),
    "refund.failed": (Kind.BOUNCED, "amount"),
    "transfer.reversed": (Kind.REVERSED, "amount_reversed"),
    "charge.dispute.created": (Kind.DISPUTED, "amount"),
    "charge.dispute.funds_withdrawn": (Kind.DISPUTED, "amount"),
    "charge.dispute.funds_reinstated": (Kind.DISPUTE_WON, "amount"),
    "charge.dispute.closed": (Kind.DISPUTE_LOST, "amount"),
}
# A bank that only asks has taken nothing yet.
INQUIRIES = "warning_"
# A charge in such a state takes nothing from the payer any more: nobody is there to try another method.
NOT_CHARGED = {"requires_payment_method", "canceled"}
# A refund in such a state gives the payer nothing.
NOT_SENT = {"failed", "canceled"}


class StripeProvider:
    """One Stripe account.

    Args:
        api_base: another address of the API (a stand-in in tests); None is Stripe's own.
    """

    name = "stripe"

    def __init__(self, *, secret_key: str, webhook_secret: str, api_base: str | None) -> None:
        self._client = client_of(secret_key, api_base)
        self._webhook_secret = webhook_secret
        # Whether real cards are charged; None when the key does not say.
        self._live = {"live": True, "test": False}.get(secret_key.partition("_")[2][:4])

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
        if remember:
            params["customer_creation"] = "always"
            params["payment_intent_data"]["setup_future_usage"] = "off_session"
        options: Any = {"idempotency_key": f"deposit-{deposit_id}"}
        with plain_errors():
            session = self._client.v1.checkout.sessions.create(params, options)
        return Checkout(ref=session.id, url=session.url or "")

    def read_event(self, *, body: bytes, signature: str) -> ProviderEvent:
        """Return what a webhook says, its signature checked by Stripe's own helper. Raises Forged."""
        if not signature.isascii():
            raise Forged("a signature is hexadecimal")
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), signature, self._webhook_secret, TOLERANCE_SECONDS
            )
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise Forged(str(error)) from error
        try:
            return self._read(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Forged(f"signed, and yet no event: {error!r}") from error

    def ask(self, *, ref: str) -> ProviderEvent | None:
        """Return what has come of a Checkout session, None while it is open. Raises ProviderAway."""
        with plain_errors():
            session = self._client.v1.checkout.sessions.retrieve(ref).to_dict()
        if session["payment_status"] == "paid":
            kind = Kind.PAID
        elif session["status"] == "expired":
            kind = Kind.EXPIRED
        else:
            return None
        return _event(f"asked:{ref}:{kind}", kind, session, "amount_total", "asked")

    def saved_method(self, *, ref: str) -> SavedMethod | None:
        """Return the payer and the method of a Checkout session that was remembered."""
        expand: Any = {"expand": ["payment_intent"]}
        with plain_errors():
            session = self._client.v1.checkout.sessions.retrieve(ref, expand).to_dict()
        intent = session.get("payment_intent") or {}
        method = intent.get("payment_method") if isinstance(intent, dict) else None
        customer = session.get("customer")
        return SavedMethod(str(customer), str(method)) if customer and method else None

    def charge_saved(
        self, *, deposit_id: uuid.UUID, amount: int, currency: str, saved: SavedMethod
    ) -> ProviderEvent | None:
        """Charge a saved method off-session; a webhook may tell the same, before or after."""
        params: Any = {
            "amount": amount // NANO_PER_CENT,
            "currency": currency.lower(),
            "customer": saved.customer,
            "payment_method": saved.method,
            "off_session": True,
            "confirm": True,
            "metadata": {"deposit_id": str(deposit_id)},
        }
        options: Any = {"idempotency_key": f"deposit-{deposit_id}"}
        with plain_errors():
            intent = self._client.v1.payment_intents.create(params, options).to_dict()
        event = _charged(intent)
        # What was declined raises; until then nothing is over.
        return event if event is not None and event.kind is Kind.PAID else None

    def find_charge(
        self, *, deposit_id: uuid.UUID, currency: str, customer: str, since: int
    ) -> ProviderEvent | None:
        """Return what came of the PaymentIntent of a payer that carries our deposit's id."""
        params: Any = {"customer": customer, "created": {"gte": since}, "limit": 100}
        with plain_errors():
            found = self._client.v1.payment_intents.list(params).to_dict()
        for intent in found["data"]:
            if _id_in(intent, "deposit_id") == deposit_id:
                return _charged(intent)
        if found.get("has_more"):
            return None
        return ProviderEvent(
            id=f"never:{deposit_id}",
            kind=Kind.EXPIRED,
            deposit_id=deposit_id,
            currency=currency,
            note="The payment service never heard of it.",
        )

    def give_back(self, *, return_id: uuid.UUID, payment: str, amount: int, currency: str) -> Sent:
        """Refund whole cents of a PaymentIntent; the same id gives the same refund."""
        params: Any = {
            "payment_intent": payment,
            "amount": amount // NANO_PER_CENT,
            "metadata": {"return_id": str(return_id)},
        }
        options: Any = {"idempotency_key": f"return-{return_id}"}
        with plain_errors():
            refund = self._client.v1.refunds.create(params, options).to_dict()
        return _back(refund)

    def find_back(self, *, return_id: uuid.UUID, payment: str) -> Sent | None:
        """Return the refund of a PaymentIntent that carries our id."""
        params: Any = {"payment_intent": payment, "limit": 100}
        with plain_errors():
            found = self._client.v1.refunds.list(params).to_dict()
        ours = [
            row
            for row in found["data"]
            if (row.get("metadata") or {}).get("return_id") == str(return_id)
        ]
        return _back(ours[0]) if ours else None

    def _read(self, event: dict[str, Any]) -> ProviderEvent:
        name, ignored = event["type"], self._why_not(event)
        if ignored:
            nothing = Kind.IGNORED
            return ProviderEvent(id=event["id"], kind=nothing, note=name, ignored=ignored)
        kind, field = KINDS[name]
        thing = event["data"]["object"]
        if name == "charge.dispute.closed" and thing["status"] == "won":
            kind = Kind.DISPUTE_WON
        if kind is Kind.REFUNDED and thing.get("status") in NOT_SENT:
            kind = Kind.BOUNCED
        return _event(event["id"], kind, thing, field, name)

    def _why_not(self, event: dict[str, Any]) -> str:
        """Return why an event means nothing to us, in a stable word, empty when it does."""
        name = event["type"]
        if event.get("account"):
            return "account_differs"  # of an account that is connected to ours: not our money
        if self._live is not None and event.get("livemode", self._live) is not self._live:
            return "mode_differs"
        if name not in KINDS:
            return "ignored"
        thing = event["data"]["object"]
        if name == "checkout.session.completed" and thing["payment_status"] == "unpaid":
            return (
                "not_paid_yet"  # a slow way to pay: async_payment_succeeded says when it has come
            )
        if name.startswith("charge.dispute.") and str(thing.get("status")).startswith(INQUIRIES):
            return "inquiry"
        return ""


def client_of(secret_key: str, api_base: str | None) -> stripe.StripeClient:
    """Return Stripe's client with our limits; `api_base` is another address of its API."""
    addresses: Any = {"api": api_base} if api_base else {}
    return stripe.StripeClient(
        secret_key,
        base_addresses=addresses,
        max_network_retries=2,
        http_client=stripe.HTTPXClient(timeout=TIMEOUT_SECONDS, allow_sync_methods=True),
    )


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say a failure of Stripe's library in the words that every provider uses."""
    try:
        yield
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        raise ProviderRefuses(str(error)) from error
    except stripe.StripeError as error:
        raise ProviderAway(str(error)) from error


def _charged(intent: dict[str, Any]) -> ProviderEvent | None:
    """Return what came of a PaymentIntent without its payer being there; None while it is not known."""
    if intent.get("status") == "succeeded":
        name = f"charged:{intent['id']}"
        return _event(name, Kind.PAID, intent, "amount_received", "charged")
    if intent.get("status") in NOT_CHARGED:
        why = (intent.get("last_payment_error") or {}).get("message") or "It was declined."
        return _event(f"declined:{intent['id']}", Kind.FAILED, intent, "amount", str(why))
    return None


def _back(refund: dict[str, Any]) -> Sent:
    if refund.get("status") in NOT_SENT:
        raise ProviderRefuses(f"The refund is {refund.get('failure_reason') or refund['status']}.")
    return Sent(str(refund["id"]))


def _event(
    event_id: str, kind: Kind, thing: dict[str, Any], field: str, note: str
) -> ProviderEvent:
    is_payment = thing.get("object") == "payment_intent"
    return ProviderEvent(
        id=event_id,
        kind=kind,
        deposit_id=_id_in(thing, "deposit_id"),
        payout_id=_id_in(thing, "payout_id"),
        return_id=_id_in(thing, "return_id"),
        amount=int(thing.get(field) or 0) * NANO_PER_CENT,
        currency=str(thing["currency"]).upper(),
        ref=str(thing.get("id") or ""),
        payment=str(thing.get("id" if is_payment else "payment_intent") or ""),
        note=note,
    )


def _id_in(thing: dict[str, Any], name: str) -> uuid.UUID | None:
    found = (thing.get("metadata") or {}).get(name)
    try:
        return uuid.UUID(found) if found else None
    except ValueError:
        return None
