"""Money from outside: believed once, only when signed, in whatever order the messages come."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import stripe
from django.conf import settings
from django.test import Client
from pydantic import SecretStr, ValidationError

from accounts.actors import Actor
from accounts.models import User
from audit import services as audit
from billing import services
from billing.models import Deposit, PaymentEvent, Transfer
from billing.providers import ProviderAway
from billing.providers.stripe_ import StripeProvider
from core import money
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from marketplace.env import Environment
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
SECRET = "whsec_for_tests"
USD = money.NANO


@pytest.fixture
def with_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments by Stripe; webhooks signed with a secret of ours, checked by its own library."""
    monkeypatch.setattr(settings.DC, "payments", "stripe")
    monkeypatch.setattr(settings.DC, "stripe_secret_key", SecretStr("sk_test_123"))
    monkeypatch.setattr(settings.DC, "stripe_webhook_secret", SecretStr(SECRET))


@pytest.fixture(autouse=True)
def _books_are_right() -> Iterator[None]:
    yield
    audit.seal_new()
    assert broken() == []


def asked(alice: Actor, usd: int = 20) -> Deposit:
    """A deposit whose checkout is open."""
    made = services.request_deposit(actor=alice, amount=usd * USD, idempotency_key=str(new_id()))
    return services.note_checkout(deposit_id=made.pk, ref="cs_1", url="https://pay.example/1")


def thing(deposit: Deposit, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"deposit_id": str(deposit.pk)}, "currency": "usd", **fields}


def paid(deposit: Deposit, usd: float | None = None) -> dict[str, Any]:
    cents = int(usd * 100) if usd is not None else deposit.amount * 100 // USD
    return thing(deposit, amount_total=cents, payment_status="paid")


def send(
    kind: str,
    body: dict[str, Any],
    *,
    event_id: str | None = None,
    secret: str = SECRET,
    at: int | None = None,
) -> tuple[int, str]:
    """Post a webhook as Stripe would; return the status and what came of it."""
    event = {"id": event_id or f"evt_{uuid.uuid4().hex}", "type": kind, "data": {"object": body}}
    payload, stamp = json.dumps(event), at or int(time.time())
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
    now = services.balance_of(owner_id=alice.user_id)
    return now.total, now.frozen


PAID = "checkout.session.completed"


def test_a_paid_checkout_is_credited_once_however_often_it_is_told(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    assert send(PAID, paid(deposit), event_id="evt_1") == (200, "credited")
    assert send(PAID, paid(deposit), event_id="evt_1") == (200, "duplicate")
    assert send(PAID, paid(deposit), event_id="evt_2") == (200, "nothing_new")
    deposit.refresh_from_db()
    assert deposit.state == "succeeded"
    assert balance(alice) == (20 * USD, False)
    assert Transfer.objects.count() == 1


def test_a_forged_an_old_and_an_unsigned_webhook_change_nothing(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    assert send(PAID, paid(deposit), secret="whsec_mallory") == (400, "signature_wrong")
    assert send(PAID, paid(deposit), at=int(time.time()) - 3600) == (400, "signature_wrong")
    for headers in ({}, {"Stripe-Signature": "t=1,v1=aa"}, {"Stripe-Signature": "\xff"}):
        answer = Client().post("/webhooks/stripe/", b"{}", "application/json", headers=headers)
        assert answer.status_code == 400
    assert balance(alice) == (0, False)
    assert not PaymentEvent.objects.exists()


@pytest.mark.parametrize("body", [{}, {"id": "x"}, {"id": "x", "type": PAID, "data": []}])
def test_a_signed_body_that_is_no_event_is_refused(with_stripe: None, body: dict[str, Any]) -> None:
    payload, stamp = json.dumps(body), int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{stamp}.{payload}", SECRET)
    header = {"Stripe-Signature": f"t={stamp},v1={signature}"}
    answer = Client().post("/webhooks/stripe/", payload, "application/json", headers=header)
    assert answer.status_code == 400


def test_events_that_are_not_about_us_are_noted_and_change_nothing(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    assert send("invoice.created", {}) == (200, "ignored")
    stranger = paid(deposit) | {"metadata": {"deposit_id": str(new_id())}}
    assert send(PAID, stranger) == (200, "deposit_unknown")
    assert send(PAID, paid(deposit) | {"metadata": None}) == (200, "deposit_unknown")
    assert send(PAID, paid(deposit) | {"currency": "eur"}) == (200, "currency_differs")
    assert send(PAID, paid(deposit, usd=19)) == (200, "amount_differs")
    assert balance(alice) == (0, False)


def test_a_slow_payment_counts_when_it_has_come(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    unpaid = paid(deposit) | {"payment_status": "unpaid"}
    assert send(PAID, unpaid) == (200, "ignored")
    assert send("checkout.session.async_payment_succeeded", paid(deposit)) == (200, "credited")
    assert balance(alice)[0] == 20 * USD


def test_a_failed_and_an_expired_checkout_can_still_be_paid(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    assert send("payment_intent.payment_failed", thing(deposit)) == (200, "failed")
    assert send("checkout.session.expired", thing(deposit)) == (200, "expired")
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert send("checkout.session.expired", thing(deposit)) == (200, "nothing_new")
    assert balance(alice)[0] == 20 * USD


def test_money_that_goes_back_before_it_came_is_asked_for_again(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    refund = thing(deposit, amount=2000, amount_refunded=2000)
    told = send("charge.refunded", refund, event_id="evt_r")
    assert told == (503, "deposit_not_paid_yet")
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert send("charge.refunded", refund, event_id="evt_r") == (200, "refunded")
    assert balance(alice) == (0, False)


def test_refunds_in_parts_take_what_each_adds(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    send(PAID, paid(deposit))
    for refunded, left in ((500, 15), (500, 15), (1200, 8), (2000, 0)):
        send("charge.refunded", thing(deposit, amount=2000, amount_refunded=refunded))
        assert balance(alice) == (left * USD, False)
    deposit.refresh_from_db()
    assert (deposit.state, deposit.refunded) == ("refunded", 20 * USD)


def spent(alice: Actor, amount: int) -> uuid.UUID:
    """Set some of the wallet aside, so that it cannot go back."""
    return services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=amount, reason="test", subject_id=new_id()
    ).pk


def test_a_dispute_freezes_the_wallet_takes_what_is_free_and_owes_the_rest(
    with_stripe: None,
) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    send(PAID, paid(deposit))
    hold = spent(alice, 15 * USD)
    assert send("charge.dispute.created", thing(deposit, amount=2000)) == (200, "disputed")
    assert balance(alice) == (15 * USD, True)
    assert services.owed_by(owner_id=alice.user_id) == 15 * USD
    with pytest.raises(Conflict) as refused:
        spent(alice, 1)
    assert refused.value.code == "wallet_frozen"
    closed = thing(deposit, amount=2000, status="lost")
    assert send("charge.dispute.closed", closed) == (200, "dispute_lost")
    assert balance(alice) == (15 * USD, True)
    services.release_hold(actor=alice, hold_id=hold)
    # What comes next pays the debt first, and thaws the wallet.
    second = asked(alice, 10)
    send(PAID, paid(second))
    assert balance(alice) == (10 * USD, False)
    assert services.owed_by(owner_id=alice.user_id) == 0


def test_a_dispute_that_is_won_gives_everything_back(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    send(PAID, paid(deposit))
    hold = spent(alice, 15 * USD)
    send("charge.dispute.created", thing(deposit, amount=2000))
    services.release_hold(actor=alice, hold_id=hold)
    # Meanwhile alice pays 10 in, which goes into the debt.
    send(PAID, paid(asked(alice, 10)))
    closed = thing(deposit, amount=2000, status="won")
    assert send("charge.dispute.closed", closed) == (200, "dispute_won")
    assert send("charge.dispute.closed", closed) == (200, "nothing_new")
    assert balance(alice) == (30 * USD, False)
    assert services.owed_by(owner_id=alice.user_id) == 0
    deposit.refresh_from_db()
    assert deposit.state == "succeeded"


@pytest.mark.parametrize("nano", [0, -USD, USD - 1, 10_001 * USD, 5 * USD + 1, 10**19])
def test_amounts_that_make_no_sense_are_refused(nano: int) -> None:
    alice = cast.person("alice")
    with pytest.raises(Invalid) as refused:
        services.request_deposit(actor=alice, amount=nano, idempotency_key="k")
    assert refused.value.code == "amount_range"
    assert not Deposit.objects.exists()


def test_a_doubled_click_makes_one_deposit_and_a_stranger_sees_none() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    first = services.request_deposit(actor=alice, amount=5 * USD, idempotency_key="click")
    again = services.request_deposit(actor=alice, amount=5 * USD, idempotency_key="click")
    assert first.pk == again.pk
    with pytest.raises(Conflict):
        services.request_deposit(actor=alice, amount=6 * USD, idempotency_key="click")
    with pytest.raises(NotFound):
        services.deposit_of(actor=carol, deposit_id=first.pk)


def test_alice_pays_in_through_the_pretended_checkout() -> None:
    alice = cast.person("alice")
    client = Client()
    client.force_login(User.objects.get(pk=alice.user_id))
    answer = client.post("/wallet/", {"amount": "25.50", "idempotency_key": "k"}, follow=True)
    assert b"Waiting for the payment" in answer.content
    checkout = answer.context["deposit"]["url"].removeprefix(settings.DC.public_url)
    assert b"takes no real money" in client.get(checkout).content
    for _ in range(2):
        answer = client.post(checkout, follow=True)
        assert b"It is in your wallet" in answer.content
    assert balance(alice)[0] == 25_500_000_000
    stranger = Client()
    stranger.force_login(User.objects.get(pk=cast.person("carol").user_id))
    assert stranger.post(checkout).status_code == 404


def test_the_pretended_checkout_is_gone_when_payments_are_real(with_stripe: None) -> None:
    alice = cast.person("alice")
    client = Client()
    client.force_login(User.objects.get(pk=alice.user_id))
    deposit = asked(alice)
    assert client.post(f"/deposits/{deposit.pk}/fake/").status_code == 404
    assert client.post("/webhooks/fake/", b"{}", "application/json").status_code == 404
    assert balance(alice)[0] == 0


def test_production_refuses_pretended_payments_and_stripe_without_keys() -> None:
    safe = settings.DC.model_dump() | {
        "mode": "production", "public_url": "https://x.example", "gateway_url": "wss://x.example",
    }  # fmt: skip
    with pytest.raises(ValidationError, match="gives money away"):
        Environment(**safe)
    with pytest.raises(ValidationError, match="DC_STRIPE_SECRET_KEY"):
        Environment(**safe | {"payments": "stripe"})
    keys = {"stripe_secret_key": "sk", "stripe_webhook_secret": "wh"}
    assert Environment(**safe | {"payments": "stripe", **keys}).payments == "stripe"


@pytest.fixture(scope="session")
def stripe_mock() -> Iterator[str]:
    """Stripe's own stand-in for its API, a fake at the border: it answers by Stripe's schema and keeps nothing."""
    program = os.environ.get("DISTRIBUTEDCOMPUTE_STRIPE_MOCK", "stripe-mock")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = subprocess.Popen([program, "-http-port", str(port)], stdout=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(base)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield base
    running.terminate()
    running.wait()


def checkout(base: str) -> Any:
    taker = StripeProvider(secret_key="sk_test_123", webhook_secret=SECRET, api_base=base)
    return taker.open_checkout(
        deposit_id=new_id(),
        amount=20 * USD,
        currency="USD",
        email="alice@example.org",
        back_url="https://x.example/deposits/1/",
    )


def test_a_checkout_is_opened_through_stripes_own_library(stripe_mock: str) -> None:
    opened = checkout(stripe_mock)
    assert opened.ref.startswith("cs_")


def test_a_stripe_that_does_not_answer_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ProviderAway):
        checkout(f"http://127.0.0.1:{port}")


def test_a_deposit_whose_checkout_cannot_be_opened_is_a_503_and_can_be_tried_again(
    with_stripe: None, monkeypatch: pytest.MonkeyPatch, stripe_mock: str
) -> None:
    alice = cast.person("alice")
    client = Client()
    client.force_login(User.objects.get(pk=alice.user_id))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    def post() -> Any:
        key = {"Idempotency-Key": "same"}
        return client.post("/api/v1/deposits/", {"amount": "20"}, "application/json", headers=key)

    monkeypatch.setattr(settings.DC, "stripe_api_base", f"http://127.0.0.1:{port}")
    refused = post()
    assert (refused.status_code, refused.json()["code"]) == (503, "payments_away")
    monkeypatch.setattr(settings.DC, "stripe_api_base", stripe_mock)
    assert post().json()["data"]["state"] == "pending"
    assert Deposit.objects.count() == 1
    assert balance(alice) == (0, False)
