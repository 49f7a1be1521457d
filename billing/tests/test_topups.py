"""Wallets that fill themselves: once at a time, within the month's limit, and less often when declined."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User
from billing import reconcile, services, tasks
from billing.models import AutoTopUp, Deposit
from billing.providers import ProviderAway, ProviderRefuses, SavedMethod, provider
from billing.providers.base import Kind, ProviderEvent
from billing.providers.fake import FakeProvider
from billing.providers.stripe_ import StripeProvider
from billing.services import topups
from billing.tests.hosts import USD
from billing.tests.payments import SECRET
from core import clock
from core.errors import Conflict, Invalid
from core.ids import new_id
from core.models import OutboxMessage
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]
CARD = SavedMethod("fake-customer", "fake-card")


@pytest.fixture
def alice() -> Iterator[Actor]:
    with time_machine.travel("2026-11-03T12:00:00Z", tick=False):
        yield cast.person("alice")


def rule(alice: Actor, *, month: int = 60, saved: SavedMethod = CARD) -> AutoTopUp:
    return services.set_auto_top_up(
        actor=alice, saved=saved, threshold=5 * USD, amount=20 * USD, month_max=month * USD
    )


def has(alice: Actor) -> int:
    return services.balance_of(owner_id=alice.user_id).available // USD


def spend(alice: Actor) -> None:
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=has(alice) * USD, reason="test",
        subject_id=new_id(),
    )  # fmt: skip


def test_a_wallet_below_the_threshold_is_filled_once(alice: Actor) -> None:
    services.balances_of(owner_id=alice.user_id)
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    rule(alice)
    tasks.top_up_wallets()
    tasks.top_up_wallets()
    assert has(alice) == 20
    made = Deposit.objects.get()
    assert (made.auto, made.state, made.amount) == (True, "succeeded", 20 * USD)


def test_a_month_has_its_limit_and_the_next_month_its_own(alice: Actor) -> None:
    cast.person("carol")
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    rule(alice, month=45)
    for _ in range(4):
        tasks.top_up_wallets()
        spend(alice)
    assert Deposit.objects.count() == 2
    with time_machine.travel("2026-12-01T00:00:01Z", tick=False):
        tasks.top_up_wallets()
        assert (has(alice), Deposit.objects.count()) == (20, 3)


def test_a_declined_card_is_tried_less_and_less_often_and_then_no_more(alice: Actor) -> None:
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    rule(alice, saved=SavedMethod("c", "declined"))
    now = clock.now()
    for hours in (0, 0.5, 1, 2, 3, 4, 7, 8, 15, 16, 31, 40):
        with time_machine.travel(now + dt.timedelta(hours=hours), tick=False):
            tasks.top_up_wallets()
    kept = AutoTopUp.objects.get()
    assert (kept.enabled, kept.failures, kept.note) == (False, 5, "The card was declined.")
    told = OutboxMessage.objects.filter(topic="billing.top_up_failed").order_by("pk")
    assert [row.payload["tries_again"] for row in told] == [True, True, True, True, False]
    assert {row.state for row in Deposit.objects.all()} == {"expired"}
    assert has(alice) == 0
    rule(alice)
    tasks.top_up_wallets()
    assert (has(alice), AutoTopUp.objects.get().failures) == (20, 0)


def test_what_a_process_left_behind_is_charged_by_the_same_key(
    alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    made = services.begin_top_up(rule_id=rule(alice).pk)
    assert made is not None
    assert services.begin_top_up(rule_id=AutoTopUp.objects.get().pk) is None
    taker = provider()

    def away(**_: object) -> None:
        raise ProviderAway("busy")

    with monkeypatch.context() as patch:
        patch.setattr(FakeProvider, "charge_saved", lambda self, **asked: away(**asked))
        tasks.top_up_wallets()
    assert (has(alice), taker.name) == (0, "fake")
    tasks.top_up_wallets()
    assert (has(alice), Deposit.objects.count()) == (20, 1)
    services.note_declined(deposit_id=made.pk, why="late")
    assert Deposit.objects.get().state == "succeeded"


def test_only_one_top_up_is_in_flight_whatever_the_code_does(alice: Actor) -> None:
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    made = services.begin_top_up(rule_id=rule(alice).pk)
    assert made is not None
    made.pk = new_id()
    with pytest.raises(IntegrityError), transaction.atomic():
        made.save(force_insert=True)


@pytest.mark.parametrize(
    ("threshold", "amount", "month"), [(-1, 20, 60), (5, 0, 60), (5, 20, 19), (5, 20, 10**6)]
)
def test_rules_that_make_no_sense_are_refused(
    alice: Actor, threshold: int, amount: int, month: int
) -> None:
    with pytest.raises(Invalid) as refused:
        services.set_auto_top_up(
            actor=alice, saved=CARD, threshold=threshold * USD, amount=amount * USD,
            month_max=month * USD,
        )  # fmt: skip
    assert refused.value.code == "amount_range"
    assert not AutoTopUp.objects.exists()


def test_the_api_sets_shows_and_stops_it(alice: Actor) -> None:
    api = APIClient()
    api.force_authenticate(User.objects.get(pk=alice.user_id))
    path, body = "/api/v1/wallet/top-up/", {"threshold": "5", "amount": "20", "month_max": "60"}
    told = api.get(path).json()["data"]
    assert (told["enabled"], told["state"], told["method"]) == (False, "no_method", False)
    told = api.put(path, body, format="json")
    assert (told.status_code, told.json()["code"]) == (409, "method_missing")
    deposit = api.post(
        "/api/v1/deposits/", {"amount": "10", "remember": True}, format="json",
        headers={"Idempotency-Key": "k"},
    ).json()["data"]  # fmt: skip
    Deposit.objects.filter(pk=deposit["id"]).update(state="succeeded")
    services.deposit(
        actor=Actor.system(), owner_id=alice.user_id, amount=10 * USD,
        idem=f"deposit:{deposit['id']}",
    )  # fmt: skip
    assert api.put(path, body, format="json").json()["data"]["enabled"] is True
    assert api.put(path, body | {"amount": "NaN"}, format="json").status_code == 400
    assert api.delete(path).json()["data"]["enabled"] is False
    tasks.top_up_wallets()
    assert has(alice) == 10


def test_the_page_sets_it_tells_what_to_do_and_switches_it_off(alice: Actor) -> None:
    client = Client()
    client.force_login(User.objects.get(pk=alice.user_id))

    def state() -> str:
        page = client.get("/wallet/").content.decode()
        return str(re.findall(r'data-top-up="(\w+)"', page)[0])

    def save(**said: str) -> int:
        usual = {"threshold": "5", "amount": "20", "month_max": "60"}
        return client.post("/wallet/top-up/", usual | said).status_code

    assert (state(), save(), AutoTopUp.objects.count()) == ("no_method", 409, 0)
    asked = {"amount": "10", "remember": "on", "idempotency_key": "k"}
    paying = client.post("/wallet/", asked)["Location"]
    client.post(f"{paying}fake/")
    assert (has(alice), state()) == (10, "off")
    assert (save(amount="0.5"), save(month_max="x"), state()) == (400, 400, "off")
    assert (save(), state()) == (302, "on")
    spend(alice)
    for _ in range(3):
        tasks.top_up_wallets()
        spend(alice)
    assert (Deposit.objects.filter(auto=True).count(), state()) == (3, "limit_reached")
    assert save(month_max="200") == 302
    AutoTopUp.objects.update(method="declined")
    tasks.top_up_wallets()
    assert state() == "declined"
    page = client.get("/wallet/").content.decode()
    assert "Last news: The card was declined." in page
    assert "Tried again" in page
    AutoTopUp.objects.update(enabled=False)
    assert state() == "given_up"
    assert save(month_max="200") == 302
    assert client.post("/wallet/top-up/", {"stop": "1"}).status_code == 302
    assert (state(), AutoTopUp.objects.get().enabled) == ("off", False)


def test_stripes_own_library_charges_a_saved_method(stripe_mock: str) -> None:
    taker = StripeProvider(secret_key="sk_test_123", webhook_secret=SECRET, api_base=stripe_mock)
    event = taker.charge_saved(
        deposit_id=new_id(), amount=20 * USD, currency="USD", saved=SavedMethod("cus_1", "pm_1")
    )
    # The stand-in's payment waits for a method; a webhook would tell what comes of it.
    assert event is None or event.payment.startswith("pi_")
    taker.saved_method(ref="cs_1")
    away = StripeProvider(
        secret_key="sk_test_123", webhook_secret=SECRET, api_base="http://127.0.0.1:1"
    )
    with pytest.raises(ProviderAway):
        away.saved_method(ref="cs_1")


def test_a_provider_that_is_away_is_said_so(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Conflict):
        reconcile.remembered_method(actor=alice)
    assert issubclass(ProviderRefuses, ProviderAway)


def test_ledger_verify_names_a_month_that_charged_too_much(alice: Actor) -> None:
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    made = rule(alice, month=20)
    tasks.top_up_wallets()
    AutoTopUp.objects.filter(pk=made.pk).update(month_max=19 * USD, amount=USD)
    with pytest.raises(
        CommandError, match=f"top-ups of {alice.user_id}: 0 in flight or 20000000000"
    ):
        call_command("ledger_verify")
    AutoTopUp.objects.filter(pk=made.pk).update(month_max=20 * USD)


@pytest.fixture
def poor(alice: Actor) -> Actor:
    """alice with an empty wallet."""
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
    )
    return alice


def test_a_charge_is_not_made_once_its_rule_is_off(poor: Actor) -> None:
    made = services.begin_top_up(rule_id=rule(poor).pk)
    assert made is not None
    assert services.method_to_charge(deposit_id=made.pk) == CARD
    AutoTopUp.objects.update(enabled=False)
    assert services.method_to_charge(deposit_id=made.pk) is None
    services.note_declined(deposit_id=made.pk, why="late")
    kept = AutoTopUp.objects.get()
    assert (kept.enabled, kept.failures, kept.note) == (False, 0, "")


def failed(made: Deposit) -> ProviderEvent:
    return ProviderEvent(
        id=f"failed-{made.pk}", kind=Kind.FAILED, amount=made.amount, currency=made.currency,
        payment="pi-1", deposit_id=made.pk, note="Insufficient funds.",
    )  # fmt: skip


@pytest.mark.parametrize("message_first", [True, False])
def test_a_decline_makes_one_pause_whoever_tells_it_first(poor: Actor, message_first: bool) -> None:
    kept = rule(poor)
    made = services.begin_top_up(rule_id=kept.pk)
    assert made is not None
    tell: list[Callable[[], object]] = [
        lambda: services.apply_event(provider="fake", event=failed(made)),
        lambda: services.note_declined(deposit_id=made.pk, why="Declined."),
    ]
    for each in tell if message_first else reversed(tell):
        each()
    kept.refresh_from_db()
    assert (kept.failures, kept.next_at) == (1, clock.now() + dt.timedelta(hours=1))
    assert kept.note == ("Insufficient funds." if message_first else "Declined.")
    assert OutboxMessage.objects.filter(topic="billing.top_up_failed").count() == 1
    assert services.begin_top_up(rule_id=kept.pk) is None


def test_a_top_up_of_which_nothing_is_heard_ends_its_rule_and_is_told(
    poor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(poor)
    now = clock.now()
    with monkeypatch.context() as patch:
        patch.setattr(FakeProvider, "charge_saved", lambda *a, **k: None)
        tasks.top_up_wallets()
    with time_machine.travel(now + dt.timedelta(days=3), tick=False):
        tasks.top_up_wallets()
        assert (Deposit.objects.get().state, AutoTopUp.objects.get().enabled) == ("created", True)
    with time_machine.travel(now + dt.timedelta(days=5), tick=False):
        tasks.top_up_wallets()
        kept = AutoTopUp.objects.get()
        assert (Deposit.objects.get().state, kept.enabled) == ("expired", False)
        assert kept.note == "Nothing was heard of this payment for days."
        [told] = OutboxMessage.objects.filter(topic="billing.top_up_failed")
        assert told.payload["tries_again"] is False
        rule(poor)
        tasks.top_up_wallets()
        assert has(poor) == 20


def test_those_who_have_enough_or_their_months_limit_keep_nobody_waiting(
    poor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "due_rules", lambda: topups.due_rules(limit=2))
    for _ in range(3):
        rich = cast.person("rich", usd=50)
        rule(rich)
    for _ in range(3):
        # What was charged this month leaves no room.
        spent = cast.person("spent")
        services.place_hold(
            actor=spent, owner_id=spent.user_id, amount=0, reason="test", subject_id=new_id()
        )
        rule(spent, month=20)
        tasks.top_up_wallets()
        spend(spent)
    rule(poor)
    for _ in range(3):
        tasks.top_up_wallets()
    assert has(poor) == 20
