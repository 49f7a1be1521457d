"""Earnings mature, pay debts first, and give back what has to be given back without ever failing."""

from __future__ import annotations

import datetime as dt
import re
import uuid

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User
from billing import services, tasks
from billing.models import Account, Deposit, Transfer
from billing.tests.hosts import SYSTEM, USD, have, use
from core import clock
from core.ids import new_id
from tests import cast
from tests.doors import pages_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]
DAY = 86_400


@pytest.fixture
def alice() -> Actor:
    return cast.person("alice")


@pytest.fixture
def bob() -> Actor:
    return cast.person("bob", role="LEASE")


def days_later(days: float) -> time_machine.travel:
    return time_machine.travel(clock.now() + dt.timedelta(days=days), tick=False)


def by_card(person: Actor) -> None:
    made = services.request_deposit(actor=person, amount=USD, idempotency_key=str(new_id()))
    Deposit.objects.filter(pk=made.pk).update(state="succeeded")
    services.deposit(actor=SYSTEM, owner_id=person.user_id, amount=USD, idem=f"deposit:{made.pk}")


def test_earnings_from_other_money_are_free_after_a_day(alice: Actor, bob: Actor) -> None:
    use(alice, bob)
    tasks.mature_earnings()
    assert have(bob) == (9 * USD, 0, 0)
    with days_later(1.01):
        tasks.mature_earnings()
        tasks.mature_earnings()
        assert have(bob) == (0, 9 * USD, 0)


def test_earnings_from_card_money_are_free_after_a_week(alice: Actor, bob: Actor) -> None:
    by_card(alice)
    use(alice, bob)
    with days_later(6.9):
        tasks.mature_earnings()
        assert have(bob) == (9 * USD, 0, 0)
    with days_later(7.1):
        tasks.mature_earnings()
        assert have(bob) == (0, 9 * USD, 0)


def test_each_posting_matures_at_its_own_time_and_the_days_are_told(
    alice: Actor, bob: Actor
) -> None:
    carol = cast.person("carol")
    by_card(carol)
    with time_machine.travel(dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC), tick=False):
        use(alice, bob)
        use(carol, bob, usd=20)
        balance = services.host_balance_of(owner_id=bob.user_id)
        assert balance.ripens == [
            (dt.date(2026, 11, 3), 9 * USD),
            (dt.date(2026, 11, 9), 18 * USD),
        ]
    with time_machine.travel(dt.datetime(2026, 11, 4, tzinfo=dt.UTC), tick=False):
        tasks.mature_earnings()
        assert have(bob) == (18 * USD, 9 * USD, 0)


def test_what_goes_back_comes_from_what_is_young_first(alice: Actor, bob: Actor) -> None:
    use(alice, bob)
    with days_later(1.1):
        tasks.mature_earnings()
        meter = use(alice, bob)
        assert meter.ended is not None
        services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 500)
        assert have(bob) == (int(4.5 * USD), 9 * USD, 0)


def test_what_goes_back_after_it_was_made_free_comes_from_there(alice: Actor, bob: Actor) -> None:
    meter = use(alice, bob)
    assert meter.ended is not None
    with days_later(1.1):
        tasks.mature_earnings()
        services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 500)
        assert have(bob) == (0, int(4.5 * USD), 0)
        assert services.balance_of(owner_id=alice.user_id).total == 5 * USD


def test_what_a_host_no_longer_has_is_owed_and_paid_by_what_is_earned_next(
    alice: Actor, bob: Actor
) -> None:
    meter = use(alice, bob)
    assert meter.ended is not None
    with days_later(1.1):
        tasks.mature_earnings()
        take_out(bob, 9 * USD)
        services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 500)
        assert services.balance_of(owner_id=alice.user_id).total == 5 * USD
        assert have(bob) == (0, 0, int(4.5 * USD))
        balance = services.host_balance_of(owner_id=bob.user_id)
        assert (balance.frozen, balance.payable) == ("host_owes", 0)
        use(alice, bob, usd=2)
        tasks.mature_earnings()
        assert have(bob) == (0, 0, int(2.7 * USD))
        use(alice, bob, usd=10)
        tasks.mature_earnings()
        assert have(bob) == (int(6.3 * USD), 0, 0)
        assert services.host_balance_of(owner_id=bob.user_id).frozen == ""


def take_out(host: Actor, amount: int) -> None:
    """Let money leave the house, as a payout does."""
    free = Account.objects.get(kind="host_free", owner_id=host.user_id)
    gateway = Account.objects.get(kind="gateway", currency="USD")
    Transfer.objects.bulk_create(
        [
            Transfer(
                group_id=new_id(),
                src=free,
                dst=gateway,
                amount=amount,
                kind="test",
                created_at=clock.now(),
            )
        ]
    )


def test_earnings_are_told_by_machine_and_day(alice: Actor, bob: Actor) -> None:
    here, there = new_id(), new_id()
    with time_machine.travel(dt.datetime(2026, 11, 2, 0, 10, tzinfo=dt.UTC), tick=False):
        # 1,000 seconds, of which 600 belong to this day.
        use(alice, bob, place_id=here)
        use(alice, bob, usd=20, place_id=there)
        rows = services.earned_by_day(owner_id=bob.user_id, days=2)
        assert [(row.day.day, row.place_id, row.earned, row.seconds) for row in rows] == [
            (2, there, 12 * USD * 9 // 10, 600),
            (2, here, 6 * USD * 9 // 10, 600),
            (1, there, 8 * USD * 9 // 10, 400),
            (1, here, 4 * USD * 9 // 10, 400),
        ]
        assert services.earned_by_day(owner_id=alice.user_id) == []


def test_the_page_and_the_api_tell_the_same(client: Client, alice: Actor, bob: Actor) -> None:
    use(alice, bob, place_id=new_id())
    user = User.objects.get(pk=bob.user_id)
    client.force_login(user)
    page = client.get("/earnings/").content.decode()
    assert 'data-pending="9.00"' in page
    assert 'data-available="0.00"' in page
    api = APIClient()
    api.force_authenticate(user)
    told = api.get("/api/v1/earnings/").json()["data"]
    assert (told["pending"], told["available"], told["payable"]) == ("9.00", "0.00", "0.00")
    assert [row["amount"] for row in told["ripens"]] == ["9.00"]
    [day, *_] = api.get("/api/v1/earnings/days/?days=3").json()["data"]
    assert day["machine_id"] is not None
    for wrong in ("0", "93", "x", "-1", "٣", "99999999999999999999"):
        answer = api.get("/api/v1/earnings/days/", {"days": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "days_range")


def test_the_page_names_machines_and_leads_to_them_and_only_to_ones_own(
    alice: Actor, bob: Actor
) -> None:
    here, _ = cast.machine(bob, name="atlas <3")
    there, _ = cast.machine(cast.person("carol"), name="hers")
    gone = new_id()
    for place in (uuid.UUID(here.node_id), uuid.UUID(there.node_id), gone, None):
        use(alice, bob, place_id=place)
    page = re.sub(r"\s+", " ", pages_of(bob).get("/earnings/").content.decode())
    assert f'<a class="link" href="/fleet/{here.node_id}/">atlas &lt;3</a>' in page
    assert str(here.node_id)[:8] + "</code>" not in page
    assert "hers" not in page
    for unnamed in (there.node_id, gone):
        assert f"<code>{str(unnamed)[:8]}</code>" in page
        assert f"/fleet/{unnamed}/" not in page
    assert re.search(r"<td> – </td>", page)


def test_ledger_verify_names_a_host_who_was_given_more_than_was_earned(
    alice: Actor, bob: Actor
) -> None:
    use(alice, bob)
    host = Account.objects.get(kind="host", owner_id=bob.user_id)
    with days_later(2):
        tasks.mature_earnings()
        use(alice, bob)
        free = Account.objects.get(kind="host_free", owner_id=bob.user_id)
        early = Transfer(
            group_id=new_id(), src=host, dst=free, amount=USD, kind="matured",
            t1=clock.epoch() - DAY, created_at=clock.now(),
        )  # fmt: skip
        [row] = Transfer.objects.bulk_create([early])
        with pytest.raises(CommandError, match=f"host {host.pk}: 10000000000 nano-units were made"):
            call_command("ledger_verify")
        # Put right by hand, so that the books of this test close.
        cover = Transfer(
            group_id=new_id(), src=free, dst=host, amount=USD, kind="cover", created_at=clock.now()
        )
        Transfer.objects.bulk_create([cover])
        call_command("ledger_verify")
