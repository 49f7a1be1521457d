"""The doors of money: what alice spends and bob earns, to the nano, and nothing of anybody else's."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from billing import services, tasks
from billing.models import Hold, Meter
from core import money
from core.errors import DomainError
from core.ids import new_id
from hostagent.protocol import WorkloadState
from rentals import probing
from rentals import services as rentals
from rentals.tests.test_life import Scene, spend_down_to
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
ROOT = "/api/v1/"


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Scene(drain, traveller)


def nano(amount: str) -> int:
    return int(Decimal(amount) * money.NANO)


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def test_the_wallet_says_what_is_free_what_is_set_aside_and_until_when_it_lasts(
    scene: Scene,
) -> None:
    scene.traveller.shift(1000)
    rate = scene.rental.compute_rate + scene.rental.storage_rate
    reserve = scene.rental.storage_rate * 2 * 86_400
    wallet = api_of(scene.alice).get(f"{ROOT}wallet/").json()["data"]
    assert nano(wallet["total"]) == 50 * money.NANO - 1000 * rate
    assert nano(wallet["locked"]) == reserve
    assert nano(wallet["available"]) + nano(wallet["locked"]) == nano(wallet["total"])
    assert nano(wallet["hourly"]) == rate * 3600
    lasts = (50 * money.NANO - reserve) // rate
    assert wallet["runs_out"] == money_runs_out(lasts)
    page = pages_of(scene.alice).get("/wallet/")
    assert (page.context["total"], page.context["locked"]) == (wallet["total"], wallet["locked"])
    assert page.context["runs_out"].isoformat().replace("+00:00", "Z") == wallet["runs_out"]


def money_runs_out(seconds: int) -> str:
    start = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
    return (start + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_an_empty_wallet_shows_nothing_that_never_happened() -> None:
    carol = cast.person("carol")
    wallet = api_of(carol).get(f"{ROOT}wallet/").json()["data"]
    assert wallet == {
        "currency": "USD",
        "total": "0.00",
        "available": "0.00",
        "locked": "0.00",
        "hourly": "0.00",
        "runs_out": None,
        "frozen": False,
    }
    assert api_of(carol).get(f"{ROOT}wallet/statement/").json()["data"] == {
        "rows": [],
        "next": None,
    }
    page = pages_of(carol).get("/wallet/")
    assert page.context["rows"] == []
    assert page.context["runs_out"] is None


def test_what_comes_in_has_no_sign_and_what_goes_out_has_a_minus(scene: Scene) -> None:
    scene.traveller.shift(100)
    rentals.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    rows = api_of(scene.alice).get(f"{ROOT}wallet/statement/").json()["data"]["rows"]
    deposit = rows[-1]
    assert (deposit["kind"], deposit["amount"], deposit["subject_id"]) == ("deposit", "50.00", None)
    spent = [row for row in rows if row["subject_id"] == str(scene.rental.pk)]
    assert {row["amount"][0] for row in spent} == {"-"}
    rate = scene.rental.compute_rate + scene.rental.storage_rate
    assert sum(nano(row["amount"]) for row in spent) == -100 * rate
    assert {(row["from"], row["to"]) for row in spent} == {
        ("2026-11-21T12:00:00Z", "2026-11-21T12:01:40Z")
    }
    shown = pages_of(scene.alice).get("/wallet/").context["rows"]
    assert [row["amount"] for row in shown] == [row["amount"] for row in rows]


def test_a_host_earns_the_price_less_the_fee_and_sees_it_line_by_line(scene: Scene) -> None:
    scene.traveller.shift(3600)
    earned = api_of(scene.bob).get(f"{ROOT}earnings/").json()["data"]
    paid = {line["kind"]: nano(line["paid_by_renter"]) for line in earned["lines"]}
    got = {line["kind"]: nano(line["earned"]) for line in earned["lines"]}
    assert paid == {
        "compute": 3600 * scene.rental.compute_rate,
        "storage": 3600 * scene.rental.storage_rate,
    }
    host, fee = money.split_fee(scene.rental.compute_rate, 1000)
    assert (got["compute"], host + fee) == (3600 * host, scene.rental.compute_rate)
    assert nano(earned["total"]) == sum(got.values())
    assert {line["seconds"] for line in earned["lines"]} == {3600}
    assert {line["ended"] for line in earned["lines"]} == {None}
    page = pages_of(scene.bob).get("/earnings/")
    assert page.context["total"] == earned["total"]
    assert "compute" in text(page)


def test_earnings_and_wallets_are_ones_own(scene: Scene) -> None:
    scene.traveller.shift(100)
    carol = cast.person("carol")
    assert api_of(carol).get(f"{ROOT}earnings/").json()["data"]["lines"] == []
    assert api_of(scene.alice).get(f"{ROOT}earnings/").json()["data"]["total"] == "0.00"
    assert api_of(carol).get(f"{ROOT}wallet/").json()["data"]["total"] == "0.00"
    renter = cast.person("alice", role="RENT")
    assert refusal(api_of(renter).get(f"{ROOT}earnings/")) == (403, "permission_missing")


def test_a_hold_below_nothing_is_refused_and_one_beyond_the_balance_says_what_is_missing() -> None:
    alice = cast.person("alice", usd=5)

    def refusal_of(amount: int) -> DomainError:
        with pytest.raises(DomainError) as refused:
            services.place_hold(
                actor=alice,
                owner_id=alice.user_id,
                amount=amount,
                reason="test",
                subject_id=new_id(),
            )
        return refused.value

    assert refusal_of(-1).code == "amount_range"
    short = refusal_of(6 * money.NANO)
    assert (short.code, short.status) == ("funds_insufficient", 402)
    assert short.data == {
        "missing": "1.00",
        "needed": "6.00",
        "available": "5.00",
        "currency": "USD",
    }
    assert not Hold.objects.exists()
    assert services.balance_of(owner_id=alice.user_id).available == 5 * money.NANO


def test_the_clocks_tasks_sweep_what_is_used_up_and_write_down_what_has_accrued(
    scene: Scene,
) -> None:
    scene.traveller.shift(3600)
    before = services.balance_of(owner_id=scene.alice.user_id)
    tasks.roll_up_meters()
    # The last minute stays open: a late word of a lost machine may still take it back.
    assert {meter.settled - meter.started for meter in Meter.objects.all()} == {3540}
    assert services.balance_of(owner_id=scene.alice.user_id) == before
    spend_down_to(scene, 10)
    scene.traveller.shift(11)
    assert scene.now().state == "running"
    tasks.sweep_exhausted_wallets()
    scene.drain()
    assert scene.now().state == "stopping"
    assert services.verify_ledger() == []
