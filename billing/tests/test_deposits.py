"""Money from outside: believed once, only when signed, in whatever order the messages come."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time
from typing import Any

import pytest
import stripe
from django.conf import settings
from django.core import checks
from django.test import Client
from pydantic import ValidationError

from accounts.models import User
from billing import services, tasks
from billing.apps import payments_are_real
from billing.models import Deposit, PaymentEvent, Transfer
from billing.providers import ProviderAway
from billing.providers.stripe_ import StripeProvider
from billing.tests.payments import (
    PAID,
    SECRET,
    USD,
    asked,
    balance,
    paid,
    send,
    stripe_that_says,
    thing,
)
from core import clock
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from marketplace.env import Environment
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]


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
    odd = Client().post(
        "/webhooks/stripe/",
        b"{}",
        content_type="application/json",
        headers={"Stripe-Signature": "t=1,v1=\u00e9"},
    )
    assert (odd.status_code, odd.json()["code"]) == (400, "signature_wrong")
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


def test_a_payment_may_tell_of_itself_before_or_after_its_checkout(with_stripe: None) -> None:
    alice = cast.person("alice")
    first, second = asked(alice, 20), asked(alice, 10)
    tells = "payment_intent.succeeded"
    assert send(tells, payment_of(first)) == (200, "credited")
    assert send(PAID, paid(first)) == (200, "nothing_new")
    assert send(PAID, paid(second) | {"payment_intent": None}) == (200, "credited")
    assert send(tells, payment_of(second)) == (200, "nothing_new")
    assert balance(alice) == (30 * USD, False)
    # Whichever came first, disputes find their deposits.
    assert {d.payment for d in Deposit.objects.all()} == {f"pi_{first.pk}", f"pi_{second.pk}"}


def payment_of(deposit: Deposit) -> dict[str, Any]:
    """A PaymentIntent that has succeeded."""
    cents = deposit.amount * 100 // USD
    fields = {"id": f"pi_{deposit.pk}", "object": "payment_intent", "amount_received": cents}
    return thing(deposit, amount=cents, **fields)


@pytest.mark.parametrize(
    ("more", "outcome"),
    [({"livemode": True}, "mode_differs"), ({"account": "acct_other"}, "account_differs")],
)
def test_events_of_another_mode_or_account_credit_nothing(
    with_stripe: None, more: dict[str, Any], outcome: str
) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    assert send(PAID, paid(deposit), **more) == (200, outcome)
    assert balance(alice) == (0, False)
    assert send(PAID, paid(deposit), livemode=False) == (200, "credited")


def test_a_type_that_nobody_knows_is_noted_whatever_its_shape(with_stripe: None) -> None:
    assert send("v2.core.something", None, event_id="evt_x") == (200, "ignored")
    assert send("v2.core.something", None, event_id="evt_x") == (200, "duplicate")
    assert PaymentEvent.objects.get().note == "v2.core.something"


def test_what_no_webhook_told_is_asked_for(
    with_stripe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = cast.person("alice")
    lucky, slow, late = asked(alice, 20), asked(alice, 10), asked(alice, 5)
    open_session = {"status": "open", "payment_status": "unpaid"}
    sessions = {
        lucky.ref: paid(lucky) | {"id": lucky.ref, "status": "complete"},
        slow.ref: paid(slow) | open_session | {"id": slow.ref},
        late.ref: paid(late) | open_session | {"id": late.ref, "status": "expired"},
    }
    with stripe_that_says(sessions) as (base, asked_for):
        monkeypatch.setattr(settings.DC, "stripe_api_base", base)
        tasks.follow_deposits()
        assert asked_for == []  # a webhook may still come
        Deposit.objects.update(created_at=clock.now() - dt.timedelta(minutes=11))
        tasks.follow_deposits()
        assert sorted(asked_for) == sorted(sessions)
        tasks.follow_deposits()
        assert len(asked_for) == 3
    assert state_of(lucky, slow, late) == ["succeeded", "pending", "expired"]
    assert balance(alice) == (20 * USD, False)
    # The webhook comes after all.
    assert send(PAID, paid(lucky)) == (200, "nothing_new")
    assert balance(alice) == (20 * USD, False)


def test_a_deposit_of_which_nothing_is_heard_is_given_up_and_its_money_still_counts(
    with_stripe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    Deposit.objects.update(created_at=clock.now() - dt.timedelta(days=5))
    with stripe_that_says({}) as (base, _):
        monkeypatch.setattr(settings.DC, "stripe_api_base", base)
        tasks.follow_deposits()
    assert state_of(deposit) == ["expired"]
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert balance(alice) == (20 * USD, False)


def state_of(*deposits: Deposit) -> list[str]:
    return [Deposit.objects.get(pk=deposit.pk).state for deposit in deposits]


def test_a_slow_payment_counts_when_it_has_come(with_stripe: None) -> None:
    alice = cast.person("alice")
    deposit = asked(alice)
    unpaid = paid(deposit) | {"payment_status": "unpaid"}
    assert send(PAID, unpaid) == (200, "not_paid_yet")
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


def test_djangos_check_refuses_pretended_payments_in_production(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert payments_are_real() == []
    monkeypatch.setattr(settings.DC, "mode", "production")
    [refused] = payments_are_real()
    assert (refused.id, refused.level) == ("billing.E001", checks.CRITICAL)
    monkeypatch.setattr(settings.DC, "payments", "stripe")
    assert payments_are_real() == []


def test_production_refuses_pretended_payments_and_stripe_without_keys() -> None:
    safe = settings.DC.model_dump() | {
        "mode": "production", "public_url": "https://x.example", "gateway_url": "wss://x.example",
        "payouts": "bank", "mail": "smtp", "smtp_host": "mail.internal",
    }  # fmt: skip
    with pytest.raises(ValidationError, match="gives money away"):
        Environment(**safe)
    with pytest.raises(ValidationError, match="DC_STRIPE_SECRET_KEY"):
        Environment(**safe | {"payments": "stripe"})
    keys = {"stripe_secret_key": "sk", "stripe_webhook_secret": "wh"}
    assert Environment(**safe | {"payments": "stripe", **keys}).payments == "stripe"


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
