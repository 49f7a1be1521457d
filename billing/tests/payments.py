"""Stripe's side of a conversation, spoken by tests: webhooks signed with its own library's function."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe
from django.test import Client

from accounts.actors import Actor
from billing import services
from billing.models import Deposit, DepositReturn
from core import money
from core.ids import new_id

SECRET = "whsec_for_tests"
USD = money.NANO
PAID = "checkout.session.completed"
REFUNDED = "refund.created"
BOUNCED = "refund.failed"
DISPUTED = "charge.dispute.created"
CLOSED = "charge.dispute.closed"


def asked(alice: Actor, usd: int = 20) -> Deposit:
    """A deposit whose checkout is open."""
    made = services.request_deposit(actor=alice, amount=usd * USD, idempotency_key=str(new_id()))
    return services.note_checkout(
        deposit_id=made.pk, ref=f"cs_{made.pk}", url="https://pay.example/1"
    )


def thing(deposit: Deposit, **fields: Any) -> dict[str, Any]:
    """What carries our metadata: a session, a payment, a charge."""
    return {
        "metadata": {"deposit_id": str(deposit.pk)},
        "currency": "usd",
        "payment_intent": f"pi_{deposit.pk}",
        **fields,
    }


def paid(deposit: Deposit, usd: float | None = None) -> dict[str, Any]:
    """A Checkout session that was paid."""
    cents = int(usd * 100) if usd is not None else deposit.amount * 100 // USD
    return thing(deposit, amount_total=cents, payment_status="paid")


def refund(deposit: Deposit, cents: int, *, ref: str = "re_1", **fields: Any) -> Any:
    """A refund as Stripe tells it: what we did not ask for names the payment only."""
    return {
        "id": ref,
        "object": "refund",
        "metadata": {},
        "currency": "usd",
        "amount": cents,
        "payment_intent": f"pi_{deposit.pk}",
        "status": "succeeded",
        **fields,
    }


def ours(deposit: Deposit, made: DepositReturn, **fields: Any) -> Any:
    """The refund that Stripe made of a return."""
    cents = made.asked * 100 // USD
    return refund(
        deposit, cents, ref=f"re_{made.pk}", metadata={"return_id": str(made.pk)}, **fields
    )


def dispute(deposit: Deposit, cents: int = 2000, *, ref: str = "dp_1", **fields: Any) -> Any:
    """A dispute as Stripe tells it: without our metadata, it names the payment only."""
    return {
        "id": ref,
        "object": "dispute",
        "metadata": {},
        "currency": "usd",
        "amount": cents,
        "payment_intent": f"pi_{deposit.pk}",
        "status": "needs_response",
        **fields,
    }


def send(
    kind: str,
    body: Any,
    *,
    event_id: str | None = None,
    secret: str = SECRET,
    at: int | None = None,
    **more: Any,
) -> tuple[int, str]:
    """Post a webhook as Stripe would; return the status and what came of it."""
    event = {"id": event_id or f"evt_{uuid.uuid4().hex}", "type": kind, "data": {"object": body}}
    payload, stamp = json.dumps(event | more), at or int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{stamp}.{payload}", secret)
    answer = Client().post(
        "/webhooks/stripe/",
        payload,
        content_type="application/json",
        headers={"Stripe-Signature": f"t={stamp},v1={signature}"},
    )
    told = answer.json()
    return answer.status_code, told.get("outcome") or told.get("code")


def balance(alice: Actor) -> tuple[int, bool]:
    """What is in the wallet, and whether it is frozen."""
    now = services.balance_of(owner_id=alice.user_id)
    return now.total, now.frozen


def set_aside(alice: Actor, amount: int) -> uuid.UUID:
    """Set some of the wallet aside, so that it cannot go back; return the hold."""
    return services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=amount, reason="test", subject_id=new_id()
    ).pk


@contextmanager
def stripe_that_says(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A stand-in for Stripe's API, a fake at the border, with answers by the last part of the path.

    Yields its address and what it was asked for. An answer may be `(status, body)`.
    """
    seen: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.split("?")[0].rsplit("/", 1)[-1]
            seen.append(name)
            said = answers.get(name, (404, {"error": {"message": "No such thing."}}))
            status, body = said if isinstance(said, tuple) else (200, said)
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
