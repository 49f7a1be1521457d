"""Payouts that the provider takes back: free again, as much as it says, once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.conf import settings

from accounts.actors import Actor
from billing import services, tasks
from billing.models import Meter, Payout
from billing.providers import Sent
from billing.providers.payouts import StripePayouts
from billing.tests.hosts import USD, have, use
from billing.tests.payments import send
from core import clock
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]
REVERSED = "transfer.reversed"


@pytest.fixture
def bob(with_stripe: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Actor]:
    """A host with 90 dollars that are free, paid through Stripe."""
    monkeypatch.setattr(settings.DC, "payouts", "stripe")
    monkeypatch.setattr(StripePayouts, "send", lambda *a, **k: Sent("tr_1"))
    host = cast.person("bob", role="LEASE")
    use(cast.person("alice"), host, usd=100)
    with time_machine.travel(clock.now() + dt.timedelta(days=2), tick=False):
        services.mature_earnings()
        yield host


def asked(bob: Actor) -> Payout:
    made = services.request_payout(
        actor=bob,
        amount=30 * USD,
        destination="acct_1032D82eZvKYlo2C",
        idempotency_key=str(new_id()),
    )
    return services.approve_payout(actor=cast.person("dora", is_staff=True), payout_id=made.pk)


def transfer(payout: Payout, cents: int) -> dict[str, Any]:
    return {
        "id": "tr_1",
        "object": "transfer",
        "currency": "usd",
        "amount": 3000,
        "amount_reversed": cents,
        "metadata": {"payout_id": str(payout.pk)},
    }


def state(payout: Payout) -> str:
    payout.refresh_from_db()
    return payout.state


def test_a_transfer_that_is_reversed_is_free_again_once(bob: Actor) -> None:
    payout = asked(bob)
    tasks.send_payouts()
    assert (state(payout), have(bob)) == ("paid", (0, 60 * USD, 0))
    assert send(REVERSED, transfer(payout, 3000), event_id="e") == (200, "reversed")
    assert send(REVERSED, transfer(payout, 3000), event_id="e") == (200, "duplicate")
    assert send(REVERSED, transfer(payout, 3000)) == (200, "nothing_new")
    assert (state(payout), have(bob)) == ("reversed", (0, 90 * USD, 0))


def test_parts_of_it_come_back_one_by_one_in_any_order(bob: Actor) -> None:
    payout = asked(bob)
    tasks.send_payouts()
    assert send(REVERSED, transfer(payout, 1000)) == (200, "reversed")
    assert (state(payout), have(bob)) == ("paid", (0, 70 * USD, 0))
    assert send(REVERSED, transfer(payout, 3000)) == (200, "reversed")
    assert send(REVERSED, transfer(payout, 2000)) == (200, "nothing_new")
    assert (state(payout), payout.reversed, have(bob)) == ("reversed", 30 * USD, (0, 90 * USD, 0))


def test_one_of_which_we_have_not_heard_that_it_was_paid_is_told_again(bob: Actor) -> None:
    payout = asked(bob)
    services.begin_sending(payout_id=payout.pk)
    assert send(REVERSED, transfer(payout, 3000), event_id="e") == (503, "payout_not_sent_yet")
    services.note_sent(payout_id=payout.pk, ref="tr_1")
    assert send(REVERSED, transfer(payout, 3000), event_id="e") == (200, "reversed")
    assert have(bob) == (0, 90 * USD, 0)


def test_what_is_not_ours_moves_nothing(bob: Actor) -> None:
    payout = asked(bob)
    tasks.send_payouts()
    nobodys = transfer(payout, 3000) | {"metadata": {}}
    assert send(REVERSED, nobodys) == (200, "payout_unknown")
    euros = transfer(payout, 3000) | {"currency": "eur"}
    assert send(REVERSED, euros) == (200, "payout_unknown")
    assert (state(payout), have(bob)) == ("paid", (0, 60 * USD, 0))


def test_a_payout_that_comes_back_pays_what_its_host_owes(bob: Actor) -> None:
    payouts = [asked(bob) for _ in range(3)]
    tasks.send_payouts()
    services.refund_charge(
        actor=cast.person("dora", is_staff=True), subject_id=Meter.objects.get().subject_id,
        amount=20 * USD, reason="because", idempotency_key=str(new_id()),
    )  # fmt: skip
    assert have(bob) == (0, 0, 18 * USD)
    assert send(REVERSED, transfer(payouts[0], 3000)) == (200, "reversed")
    services.mature_earnings()
    assert have(bob) == (0, 12 * USD, 0)
