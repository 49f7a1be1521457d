"""Charges that were begun or asked for when their rule changed or their answer was lost: never twice, never as it was
before, never beyond the month, and found out about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client

from accounts.actors import Actor
from accounts.models import User
from billing import services, tasks
from billing.models import AutoTopUp, Deposit
from billing.providers import Kind, ProviderAway, SavedMethod, provider
from billing.providers.base import ProviderEvent
from billing.providers.fake import FakeProvider
from billing.providers.stripe_ import StripeProvider
from billing.tests.hosts import USD
from billing.tests.payments import SECRET, stripe_that_says
from billing.tests.test_topups import CARD, failed, has, rule
from core import clock
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]
Again = Callable[[Actor], object]


@pytest.fixture
def poor() -> Iterator[Actor]:
    """alice with an empty wallet."""
    with time_machine.travel("2026-11-03T12:00:00Z", tick=False):
        alice = cast.person("alice")
        services.place_hold(
            actor=alice, owner_id=alice.user_id, amount=0, reason="test", subject_id=new_id()
        )
        yield alice


@pytest.fixture
def lost(poor: Actor, monkeypatch: pytest.MonkeyPatch) -> ProviderEvent:
    """What the provider will tell of 20 that it charged by a rule of 20 a month; its answer was lost."""
    taken: list[ProviderEvent] = []
    real = FakeProvider.charge_saved

    def silent(self: FakeProvider, **asked: Any) -> None:
        event = real(self, **asked)
        assert event is not None
        taken.append(event)
        raise ProviderAway("timed out")

    rule(poor, month=20)
    with monkeypatch.context() as patch:
        patch.setattr(FakeProvider, "charge_saved", silent)
        tasks.top_up_wallets()
    [event] = taken
    return event


def stop_and_set(poor: Actor) -> None:
    services.stop_auto_top_up(actor=poor)
    rule(poor, month=20)


def set_another(poor: Actor) -> None:
    services.set_auto_top_up(
        actor=poor, saved=CARD, threshold=6 * USD, amount=10 * USD, month_max=20 * USD
    )


def set_another_card(poor: Actor) -> None:
    rule(poor, month=20, saved=SavedMethod("fake-customer-2", "fake-card-2"))


CHANGES = [lambda poor: rule(poor, month=20), stop_and_set, set_another, set_another_card]


def later(**passed: float) -> time_machine.travel:
    return time_machine.travel(clock.now() + dt.timedelta(**passed), tick=False)


def charged() -> int:
    paid = Deposit.objects.filter(auto=True, state="succeeded")
    return sum(row.amount for row in paid) // USD


@pytest.mark.parametrize("again", CHANGES)
def test_a_rule_that_is_saved_again_charges_no_more_than_its_month_allows(
    poor: Actor, lost: ProviderEvent, again: Again
) -> None:
    # She sees no money and saves it once more, and again.
    for minutes in (1, 2, 3):
        with later(minutes=minutes):
            again(poor)
            tasks.top_up_wallets()
    with later(minutes=4):
        services.apply_event(provider="fake", event=lost)
        tasks.top_up_wallets()
    assert (charged(), has(poor), Deposit.objects.count()) == (20, 20, 1)


def test_the_same_rule_once_more_goes_on_with_what_it_has_begun(
    poor: Actor, lost: ProviderEvent
) -> None:
    with later(minutes=1):
        rule(poor, month=20)
        tasks.top_up_wallets()
    # The same key, so once: the provider's own message is no news any more.
    assert (charged(), has(poor), Deposit.objects.count()) == (20, 20, 1)
    assert services.apply_event(provider="fake", event=lost) == "duplicate"


def test_what_may_have_been_charged_counts_to_the_month_and_is_said(
    poor: Actor, lost: ProviderEvent
) -> None:
    told = services.top_up_of(actor=poor)
    assert (told.used, told.waiting) == (20 * USD, True)
    client = Client()
    client.force_login(User.objects.get(pk=poor.user_id))
    assert 'data-top-up="waiting"' in client.get("/wallet/").content.decode()
    services.apply_event(provider="fake", event=lost)
    told = services.top_up_of(actor=poor)
    assert (told.used, told.waiting) == (20 * USD, False)


def finding(
    monkeypatch: pytest.MonkeyPatch, kind: Kind | None, lost: ProviderEvent
) -> list[dict[str, Any]]:
    """Let the provider answer what came of a charge, and return what it is asked."""
    seen: list[dict[str, Any]] = []
    answer = ProviderEvent(
        id="found", kind=kind or Kind.IGNORED, deposit_id=lost.deposit_id, amount=lost.amount,
        currency=lost.currency, payment="pi-1", note="Nothing was taken.",
    )  # fmt: skip

    def find(self: FakeProvider, **asked: Any) -> ProviderEvent | None:
        seen.append(asked)
        return answer if kind else None

    monkeypatch.setattr(FakeProvider, "find_charge", find)
    return seen


@pytest.mark.parametrize(
    ("kind", "has_then", "states"),
    [
        (Kind.PAID, 20, ["succeeded"]),
        (Kind.FAILED, 10, ["failed", "succeeded"]),
        (Kind.EXPIRED, 10, ["expired", "succeeded"]),
        (None, 0, ["created"]),
    ],
)
def test_after_a_while_the_provider_is_asked_what_came_of_it_and_nothing_is_charged(
    poor: Actor, lost: ProviderEvent, monkeypatch: pytest.MonkeyPatch, kind: Kind | None,
    has_then: int, states: list[str],
) -> None:  # fmt: skip
    seen = finding(monkeypatch, kind, lost)
    with later(seconds=1):
        set_another(poor)
    with later(minutes=9):
        tasks.top_up_wallets()
        assert (seen, has(poor)) == ([], 0)
    with later(minutes=11):
        for _ in range(3):
            tasks.top_up_wallets()
        since = clock.to_epoch(Deposit.objects.order_by("created_at")[0].created_at) - 3600
        assert seen == [
            {"deposit_id": lost.deposit_id, "currency": "USD", "customer": "fake-customer",
             "since": since},
        ]  # fmt: skip
        assert has(poor) == has_then
    rows = Deposit.objects.order_by("created_at").values_list("state", flat=True)
    assert list(rows) == states
    assert AutoTopUp.objects.get().failures == 0


def test_a_provider_that_cannot_be_asked_is_asked_again_later(
    poor: Actor, lost: ProviderEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    def away(self: FakeProvider, **asked: Any) -> None:
        tries.append(asked)
        raise ProviderAway("busy")

    set_another(poor)
    monkeypatch.setattr(FakeProvider, "find_charge", away)
    for minutes in (11, 12, 22, 33):
        with later(minutes=minutes):
            tasks.top_up_wallets()
    assert (len(tries), has(poor), Deposit.objects.get().state) == (3, 0, "created")


def test_what_nobody_can_tell_of_is_given_up_after_days_and_ends_the_rule_that_waited(
    poor: Actor, lost: ProviderEvent
) -> None:
    set_another(poor)
    for days in (1, 3):
        with later(days=days):
            tasks.top_up_wallets()
            assert (Deposit.objects.get().state, AutoTopUp.objects.get().enabled) == (
                "created",
                True,
            )
    with later(days=5):
        tasks.top_up_wallets()
        assert (Deposit.objects.get().state, AutoTopUp.objects.get().enabled) == ("expired", False)
        assert has(poor) == 0


def test_what_another_provider_was_asked_for_keeps_nobody_waiting_for_ever(
    poor: Actor, lost: ProviderEvent
) -> None:
    Deposit.objects.update(provider="stripe")
    set_another(poor)
    with later(days=5):
        tasks.top_up_wallets()
        assert Deposit.objects.get().state == "expired"


INTENT = {
    "id": "pi_1", "object": "payment_intent", "amount": 2000, "amount_received": 2000,
    "currency": "usd",
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "note"),
    [
        ("succeeded", Kind.PAID, "charged"),
        ("requires_payment_method", Kind.FAILED, "Your card was declined."),
        ("canceled", Kind.FAILED, "Your card was declined."),
        ("processing", None, ""),
    ],
)
def test_stripe_is_asked_for_the_charge_that_carries_our_id(
    status: str, kind: Kind | None, note: str
) -> None:
    deposit_id = new_id()
    ours = INTENT | {
        "status": status,
        "metadata": {"deposit_id": str(deposit_id)},
        "last_payment_error": {"message": "Your card was declined."},
    }
    others = INTENT | {"id": "pi_2", "status": "succeeded", "metadata": {}}
    found = find_at_stripe(deposit_id, [others, ours])
    if kind is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.deposit_id, found.amount, found.currency) == (
        kind,
        deposit_id,
        20 * USD,
        "USD",
    )
    assert (found.payment, found.note) == ("pi_1", note)


@pytest.mark.parametrize("more", [False, True])
def test_what_stripe_never_heard_of_was_never_charged_unless_there_is_more_to_look_at(
    more: bool,
) -> None:
    deposit_id = new_id()
    found = find_at_stripe(deposit_id, [INTENT | {"status": "succeeded", "metadata": {}}], more)
    assert (found and (found.kind, found.deposit_id, found.currency)) == (
        None if more else (Kind.EXPIRED, deposit_id, "USD")
    )


def find_at_stripe(
    deposit_id: Any, rows: list[dict[str, Any]], more: bool = False
) -> ProviderEvent | None:
    listed = {"object": "list", "data": rows, "has_more": more, "url": "/v1/payment_intents"}
    with stripe_that_says({"payment_intents": listed}) as (address, seen):
        taker = StripeProvider(secret_key="sk_test_1", webhook_secret=SECRET, api_base=address)
        found = taker.find_charge(
            deposit_id=deposit_id, currency="USD", customer="cus_1", since=1_700_000_000
        )
        assert seen == ["payment_intents"]
    return found


def test_stripes_own_stand_in_knows_the_question(stripe_mock: str) -> None:
    taker = StripeProvider(secret_key="sk_test_123", webhook_secret=SECRET, api_base=stripe_mock)
    found = taker.find_charge(
        deposit_id=new_id(), currency="USD", customer="cus_1", since=1_700_000_000
    )
    assert found is None or found.kind is Kind.EXPIRED


def smaller(poor: Actor) -> AutoTopUp:
    """Another rule: 10 instead of 20."""
    return services.set_auto_top_up(
        actor=poor, saved=CARD, threshold=5 * USD, amount=10 * USD, month_max=10 * USD
    )


def away(self: object, **_: object) -> None:
    raise ProviderAway("busy")


def test_whoever_has_said_stop_is_not_charged_for_what_was_begun_before(
    poor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(poor)
    with monkeypatch.context() as patch:
        patch.setattr(FakeProvider, "charge_saved", away)
        tasks.top_up_wallets()
    made = Deposit.objects.get()
    services.stop_auto_top_up(actor=poor)
    tasks.top_up_wallets()
    # It may have been charged: only the provider can say that it was not.
    assert (has(poor), Deposit.objects.get().state) == (0, "created")
    # What the provider had taken all the same is theirs.
    paid = provider().charge_saved(
        deposit_id=made.pk, amount=made.amount, currency=made.currency, saved=CARD
    )
    assert paid is not None
    services.apply_event(provider="fake", event=paid)
    assert (has(poor), AutoTopUp.objects.get().enabled) == (20, False)


def test_a_rule_that_was_changed_is_not_charged_by_what_it_was(
    poor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(poor)
    with monkeypatch.context() as patch:
        patch.setattr(FakeProvider, "charge_saved", away)
        tasks.top_up_wallets()
    with time_machine.travel(clock.now() + dt.timedelta(seconds=1), tick=False):
        smaller(poor)
        tasks.top_up_wallets()
        made = Deposit.objects.get()
        assert (has(poor), made.state) == (0, "created")
        services.apply_event(provider="fake", event=failed(made))
        tasks.top_up_wallets()
    # The decline was of the rule before: this one does not pause for it.
    assert (has(poor), AutoTopUp.objects.get().failures) == (10, 0)


def test_what_the_provider_was_never_asked_for_is_over_when_its_rule_changes(poor: Actor) -> None:
    made = services.begin_top_up(rule_id=rule(poor).pk)
    assert made is not None
    smaller(poor)
    made.refresh_from_db()
    assert made.state == "expired"
    tasks.top_up_wallets()
    assert has(poor) == 10


@pytest.mark.parametrize(
    "changed", [{"amount": 10 * USD}, {"since": dt.datetime(2026, 11, 4, tzinfo=dt.UTC)}]
)
def test_what_began_while_a_rule_was_being_changed_is_given_up(
    poor: Actor, changed: dict[str, object]
) -> None:
    made = services.begin_top_up(rule_id=rule(poor).pk)
    assert made is not None
    AutoTopUp.objects.update(**changed)
    assert services.method_to_charge(deposit_id=made.pk) is None
    assert Deposit.objects.get().state == "expired"
