"""Monthly statements: each opens as the one before closed, and nothing that is over ever changes."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum

from accounts.actors import Actor
from billing import services, tasks
from billing.models import Invoice, Meter, Month, MonthlyStatement, Side, Transfer
from core import money
from core.errors import DomainError
from core.ids import new_id
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
USD = money.NANO
RATE, FEE_BPS = 100_000, 1000
OCTOBER, NOVEMBER, DECEMBER = (dt.date(2026, month, 1) for month in (10, 11, 12))
ROOT = "/api/v1/statements/"


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel("2026-10-30T12:00:00Z", tick=False) as moving:
        yield moving


def used(alice: Actor, bob: Actor, traveller: time_machine.Traveller, seconds: int) -> Meter:
    """Let alice use something of bob's for so long, posted at its end."""
    meter = services.open_meter(
        actor=alice, kind="compute", owner_id=alice.user_id, payee_id=bob.user_id, rate=RATE,
        fee_bps=FEE_BPS, subject_id=new_id(),
    )  # fmt: skip
    traveller.shift(seconds)
    services.close_meter(actor=alice, meter_id=meter.pk)
    return meter


def of(actor: Actor, month: dt.date, side: Side = Side.WALLET) -> services.MonthOut:
    return services.month_out_of(actor=actor, month=month, side=side, currency="USD")


def test_a_month_opens_as_the_one_before_closed_and_sums_by_kind(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    used(alice, bob, traveller, 3600)
    traveller.move_to("2026-11-03T00:00:00Z")
    assert services.close_months() == 1
    used(alice, bob, traveller, 1000)
    traveller.move_to("2026-12-01T00:00:00Z")
    assert services.close_months() == 1
    october, november = of(alice, OCTOBER), of(alice, NOVEMBER)
    assert (october.opening, october.closing) == (0, 10 * USD - 3600 * RATE)
    assert (november.opening, november.closing) == (october.closing, october.closing - 1000 * RATE)
    assert {each.kind: (each.came, each.went, each.count) for each in october.sums} == {
        "deposit": (10 * USD, 0, 1),
        "share": (0, 3600 * RATE * 9 // 10, 1),
        "fee": (0, 3600 * RATE // 10, 1),
    }
    earned = of(bob, NOVEMBER, Side.HOST)
    assert (earned.opening, earned.closing) == (3600 * 90_000, 4600 * 90_000)
    assert services.verify_ledger() == []
    assert services.close_months() == 0


def test_after_months_of_down_time_every_month_is_made_up_for(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    used(alice, bob, traveller, 60)
    traveller.move_to("2027-02-10T00:00:00Z")
    used(alice, bob, traveller, 60)
    tasks.close_months()
    stated = MonthlyStatement.objects.filter(owner_id=alice.user_id, side="wallet")
    rows = list(stated.order_by("month"))
    assert [str(row) for row in rows] == [
        f"wallet {month}" for month in ("2026-10", "2026-11", "2026-12", "2027-01")
    ]
    closing = 10 * USD - 60 * RATE
    assert [(row.opening, row.closing) for row in rows] == [(0, closing)] + 3 * [(closing, closing)]
    assert not Month.objects.filter(stated_at=None).exists()
    open_month = of(alice, dt.date(2027, 2, 1))
    assert (open_month.closed, open_month.opening) == (False, closing)
    assert open_month.closing == closing - 60 * RATE
    assert services.verify_ledger() == []


def test_what_is_corrected_later_appears_in_the_month_in_which_it_is_corrected(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    meter = used(alice, bob, traveller, 600)
    traveller.move_to("2026-11-01T00:30:00Z")
    services.close_months()
    before = MonthlyStatement.objects.get(owner_id=alice.user_id, side="wallet")
    meter.refresh_from_db()
    assert meter.ended is not None
    services.take_back(actor=alice, subject_id=meter.subject_id, since=meter.ended - 100)
    after = MonthlyStatement.objects.get(owner_id=alice.user_id, side="wallet")
    assert (after.closing, after.sums) == (before.closing, before.sums)
    november = of(alice, NOVEMBER)
    assert {each.kind: each.came for each in november.sums} == {
        "share_back": 100 * 90_000,
        "fee_back": 100 * 10_000,
    }
    assert november.closing == before.closing + 100 * RATE
    assert services.verify_ledger() == []


def test_a_clock_that_is_set_back_moves_nothing_into_a_month_that_is_closed(
    traveller: time_machine.Traveller,
) -> None:
    alice = cast.person("alice", usd=10)
    traveller.move_to("2026-11-01T00:30:00Z")
    services.close_months()
    traveller.move_to("2026-10-31T23:00:00Z")
    services.deposit(actor=alice, owner_id=alice.user_id, amount=USD, idem="late")
    traveller.move_to("2026-12-01T00:30:00Z")
    services.close_months()
    assert of(alice, OCTOBER).closing == 10 * USD
    november = of(alice, NOVEMBER)
    assert (november.opening, november.closing) == (10 * USD, 11 * USD)
    assert services.verify_ledger() == []


def test_moves_between_a_hosts_own_accounts_are_none(traveller: time_machine.Traveller) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    used(alice, bob, traveller, 600)
    traveller.move_to("2026-11-20T00:00:00Z")
    services.mature_earnings()
    assert Transfer.objects.filter(kind="matured").exists()
    november = of(bob, NOVEMBER, Side.HOST)
    assert [each.kind for each in november.sums] == ["share"]
    assert november.closing == 600 * 90_000


def test_nobody_changes_what_was_stated(traveller: time_machine.Traveller) -> None:
    cast.person("alice", usd=10)
    traveller.move_to("2026-11-01T00:00:00Z")
    services.close_months()
    for attempt in (
        lambda: MonthlyStatement.objects.update(closing=0),
        lambda: MonthlyStatement.objects.all().delete(),
        lambda: Month.objects.filter(month=OCTOBER)._raw_delete("default"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt()
    assert services.verify_ledger() == []
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE billing_monthlystatement DISABLE TRIGGER USER")
        cursor.execute("UPDATE billing_monthlystatement SET closing = closing + 1")
    with pytest.raises(CommandError, match=r"statement .*: closes at 10000000001"):
        call_command("ledger_verify")


@pytest.mark.django_db(transaction=True)
def test_a_posting_on_its_way_is_waited_for_and_not_lost() -> None:
    with time_machine.travel("2026-10-30T12:00:00Z", tick=False) as traveller:
        alice = cast.person("alice", usd=10)
        posted, go_on = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                services.deposit(actor=alice, owner_id=alice.user_id, amount=USD, idem="slow")
                posted.set()
                go_on.wait(20)
            connection.close()

        poster = threading.Thread(target=slow)
        poster.start()
        assert posted.wait(20)
        traveller.move_to("2026-11-01T00:00:00Z")
        # It will not wait for ever, and fixes nothing meanwhile.
        assert services.close_months() == 0
        assert not Month.objects.exists()
        go_on.set()
        poster.join()
        assert services.close_months() == 1
        assert of(alice, OCTOBER).closing == 11 * USD
        assert services.verify_ledger() == []


def test_the_api_lists_months_shows_lines_and_gives_them_as_csv(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    used(alice, bob, traveller, 3601)
    traveller.move_to("2026-11-01T00:00:00Z")
    services.close_months()
    client = api_of(alice)
    told = client.get(ROOT).json()["data"]
    assert [(row["month"], row["closed"]) for row in told["rows"]] == [("2026-10", True)]
    month = client.get(f"{ROOT}2026-10/").json()["data"]
    assert (month["opening"], month["closing"]) == ("0.00", "9.6399")
    assert [row["kind"] for row in month["lines"]] == ["fee", "share", "deposit"]
    assert sum(Decimal(row["amount"]) for row in month["lines"]) == Decimal(month["closing"])
    assert month["next"] is None
    answer = client.get(f"{ROOT}2026-10/", {"format": "csv"})
    first, *rows, last = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (first["what"], last["what"]) == ("Opening balance", "Closing balance")
    assert Decimal(first["amount"]) + sum(Decimal(row["amount"]) for row in rows) == Decimal(
        last["amount"]
    )
    cents = [Decimal(row["amount_cents"]) for row in (first, *rows)]
    assert sum(cents) == Decimal(last["amount_cents"])
    earned = api_of(bob).get(f"{ROOT}2026-10/", {"side": "host"}).json()["data"]
    assert (earned["closing"], earned["lines"][0]["amount"]) == ("0.32409", "0.32409")


def test_lines_come_page_by_page(
    traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = cast.person("alice")
    for number in range(5):
        services.deposit(
            actor=alice, owner_id=alice.user_id, amount=USD, idem=f"{alice.user_id}-{number}"
        )
    which: Any = {"actor": alice, "month": OCTOBER, "side": Side.WALLET, "currency": "USD"}
    first = services.month_lines(**which, limit=3)
    rest = services.month_lines(**which, before=first.next_before, limit=3)
    assert ([len(first.rows), len(rest.rows)], rest.next_before) == ([3, 2], None)
    ids = [row.pk for row in first.rows + rest.rows]
    assert ids == sorted(ids, reverse=True)
    monkeypatch.setattr("billing.services.months.MOST_LINES", 4)
    answer = api_of(alice).get(f"{ROOT}2026-10/", {"format": "csv"})
    assert refusal(answer) == (400, "statement_long")


@pytest.mark.parametrize(
    ("path", "query", "refused"),
    [
        ("2026-13/", {}, (400, "month_invalid")),
        ("0000-01/", {}, (400, "month_invalid")),
        ("2020-01/", {}, (404, "statement_unknown")),
        ("2026-10/", {"side": "both"}, (400, "side_unknown")),
        ("2026-10/", {"currency": "EUR"}, (400, "currency_unknown")),
        ("2026-10/", {"before": "x"}, (400, "cursor_invalid")),
        ("2026-10/", {"format": "pdf"}, (400, "format_unknown")),
        ("", {"before": "2026"}, (400, "month_invalid")),
    ],
)
def test_what_makes_no_sense_is_refused(
    traveller: time_machine.Traveller,
    path: str,
    query: dict[str, str],
    refused: tuple[int, str],
) -> None:
    assert refusal(api_of(cast.person("alice")).get(f"{ROOT}{path}", query)) == refused


def test_months_of_others_are_not_told(traveller: time_machine.Traveller) -> None:
    cast.person("alice", usd=10)
    traveller.move_to("2026-11-01T00:00:00Z")
    services.close_months()
    carol = cast.person("carol", role="RENT")
    assert refusal(api_of(carol).get(f"{ROOT}2026-10/")) == (404, "statement_unknown")
    answer = api_of(carol).get(f"{ROOT}2026-11/", {"side": "host"})
    assert refusal(answer) == (403, "permission_missing")
    with pytest.raises(DomainError):
        services.months_of(actor=carol, side=Side.HOST, currency="USD")
    assert api_of(carol).get(ROOT).json()["data"]["rows"] == []


def test_the_pages_show_months_and_one_month(traveller: time_machine.Traveller) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    used(alice, bob, traveller, 3600)
    traveller.move_to("2026-11-01T00:00:00Z")
    services.close_months()
    browser = pages_of(alice)
    listed = browser.get("/statements/").content.decode()
    assert "/statements/2026-10/?side=wallet&amp;currency=USD" in listed
    shown = browser.get("/statements/2026-10/").content.decode()
    for words in ("Opening balance", "Closing balance", "9.64", "Paid in", "explain"):
        assert words in shown, words
    going_on = browser.get("/statements/2026-11/").content.decode()
    assert "This month goes on" in going_on
    hosts = pages_of(bob).get("/statements/2026-10/?side=host").content.decode()
    assert "0.324" in hosts


@pytest.mark.parametrize("seed", range(10))
def test_over_random_months_with_steps_of_the_clock_statements_and_invoices_stay_true(
    traveller: time_machine.Traveller, seed: int
) -> None:
    chance = random.Random(seed)
    alice, bob = cast.person("alice", usd=1000), cast.person("bob")
    meters: list[Meter] = []
    kept: dict[object, object] = {}
    for _ in range(40):
        what = chance.choice(["use", "use", "take back", "pay in", "wait", "step", "close"])
        if what == "use":
            meters.append(used(alice, bob, traveller, chance.choice([1, 600, 86_400])))
        elif what == "take back" and meters:
            meter = chance.choice(meters)
            since = meter.started + chance.randrange(100_000)
            services.take_back(actor=alice, subject_id=meter.subject_id, since=since)
        elif what == "pay in":
            amount, idem = chance.randrange(1, USD), f"{alice.user_id}-{chance.random()}"
            services.deposit(actor=alice, owner_id=alice.user_id, amount=amount, idem=idem)
        elif what == "wait":
            traveller.shift(chance.choice([60, 5 * 86_400, 33 * 86_400]))
        elif what == "step":
            traveller.shift(chance.randint(-6 * 3600, 6 * 3600))
        else:
            tasks.close_months()
        # What was written stays as it was, and everything adds up.
        papers = [*MonthlyStatement.objects.all(), *Invoice.objects.all()]
        now = {paper.pk: {**vars(paper), "_state": None} for paper in papers}
        assert all(now[pk] == before for pk, before in kept.items())
        kept = {**now}
    traveller.shift(40 * 86_400)
    tasks.close_months()
    assert services.verify_ledger() == []
    balance = services.balance_of(owner_id=alice.user_id).total
    latest = MonthlyStatement.objects.filter(owner_id=alice.user_id, side="wallet").latest("month")
    assert latest.closing == balance
    invoiced = sum(
        paper.total if paper.paper == "invoice" else -paper.total for paper in Invoice.objects.all()
    )
    spent = Transfer.objects.filter(src__owner_id=alice.user_id).aggregate(total=Sum("amount"))
    back = Transfer.objects.filter(reverses__isnull=False).aggregate(total=Sum("amount"))
    # Each paper is rounded to cents, and what is below half a cent has none.
    papers_and_months = Invoice.objects.count() + MonthlyStatement.objects.count()
    off = abs(invoiced - (int(spent["total"] or 0) - int(back["total"] or 0)))
    assert off <= papers_and_months * money.NANO // 100
