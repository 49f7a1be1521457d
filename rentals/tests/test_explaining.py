"""Every line of a bill names what began and ended it, every gap its evidence, and the sum is the ledger's."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import time_machine
from django.core.management import call_command
from django.db import transaction
from django.db.models import Sum

from audit import services as audit
from billing import services as billing
from billing.models import Transfer
from core import clock, money
from core.errors import DomainError
from hostagent.protocol import WorkloadState
from rentals import probing, services
from rentals.services.explaining import Explained
from rentals.tests.test_liveness import Watched
from tests import cast
from tests.doors import api_of, pages_of, refusal
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Watched(drain, traveller)
        yield scene
        audit.seal_new()
        assert broken() == []


def in_ledger(scene: Watched) -> int:
    """Return what the rental's transfers have taken from alice's wallet, less what came back."""
    of_rental = Transfer.objects.filter(meter__subject_id=scene.rental.pk)
    out = of_rental.filter(src__kind="wallet").aggregate(total=Sum("amount"))["total"]
    back = of_rental.filter(dst__kind="wallet").aggregate(total=Sum("amount"))["total"]
    return int(out or 0) - int(back or 0)


def explained(scene: Watched) -> Explained:
    return services.explain(scene.now())


def adds_up(scene: Watched) -> Explained:
    """Every way to say what the rental costs gives the same figure, to the nano."""
    bill = explained(scene)
    assert bill.agrees
    assert bill.total == sum(line.charge.rate * line.charge.seconds for line in bill.lines)
    assert bill.total == billing.bill_of(subject_id=scene.rental.pk).total
    assert bill.posted == in_ledger(scene)
    assert bill.total == bill.posted + bill.on_the_line == bill.host_share + bill.fee
    assert all(gap.end is None or gap.end > gap.start for gap in bill.gaps)
    return bill


def test_a_line_says_who_began_and_who_ended_it_and_a_gap_why_nothing_was_billed(
    scene: Watched,
) -> None:
    scene.pass_time(100)
    scene.stopped()
    scene.pass_time(50)
    bill = adds_up(scene)
    compute, storage = bill.lines
    assert compute.opened_by is not None
    assert compute.closed_by is not None
    assert (compute.opened_by.words, compute.opened_by.by) == ("Running", "platform")
    assert (compute.closed_by.words, compute.closed_by.who) == (
        "Stopping: You stopped it.",
        scene.alice.label,
    )
    assert (storage.closed_by, storage.charge.closed, storage.ended_words) == (None, None, "")
    assert (compute.charge.seconds, storage.charge.seconds) == (100, 150)
    assert storage.charge.on_the_line == 50 * scene.rental.storage_rate
    [gap] = bill.gaps
    assert (gap.kind, gap.end, gap.words) == ("compute", None, "Stopping: You stopped it.")
    assert gap.start == compute.charge.closed


def test_what_was_not_billed_while_the_machine_was_lost_shows_its_last_beat_and_its_first(
    scene: Watched,
) -> None:
    scene.pass_time(100)
    beat = clock.from_epoch(clock.epoch())
    scene.silent(60)
    noticed = clock.from_epoch(clock.epoch())
    scene.silent(400)
    back = clock.from_epoch(scene.returns())
    bill = adds_up(scene)
    assert [(gap.kind, gap.end and gap.end - gap.start) for gap in bill.gaps] == [
        ("compute", 460),
        ("storage", 460),
    ]
    seen = {(each.words, each.at, each.noticed) for each in bill.gaps[0].evidence}
    assert {
        ("The last good sign of life", beat, noticed),
        ("The machine's last beat", beat, noticed),
        ("The machine connected again", back, back),
        ("The first good sign of life", back, back),
    } <= seen
    assert {line.ended_words for line in bill.lines[:2]} == {"Not answering; the meter stopped"}


def test_what_was_paid_back_names_the_posting_that_it_mends(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(7200, noticed=False)
    billing.roll_up()
    scene.returns()
    bill = adds_up(scene)
    backs = [back for line in bill.lines for back in line.charge.paid_back]
    # Compute and storage, each the host's share and the fee.
    assert [(back.kind, back.end - back.start) for back in backs] == [
        ("share_back", 7140),
        ("fee_back", 7140),
    ] * 2
    for back in backs:
        original = Transfer.objects.get(pk=back.original)
        assert original.t0 is not None
        assert original.t0 <= back.start
        assert original.kind == back.kind.removesuffix("_back")
    paid_back = sum(back.amount for back in backs)
    rate = scene.rental.compute_rate + scene.rental.storage_rate
    assert paid_back == 7140 * rate


def test_a_stop_that_was_shortened_afterwards_says_so(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(20, noticed=False)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.silent(20)
    bill = adds_up(scene)
    compute = bill.lines[0]
    assert (compute.charge.seconds, len(compute.charge.closings)) == (100, 2)
    assert compute.charge.paid_back


def test_until_it_answers_nothing_is_billed_and_the_bill_says_why(drain: Drain) -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(cast.person("alice", usd=50), offer)
    bill = services.explain(rental)
    assert (bill.total, bill.lines, bill.agrees, bill.currency) == (0, (), True, "USD")
    assert [(gap.kind, gap.end) for gap in bill.gaps] == [("compute", None), ("storage", None)]
    assert bill.gaps[0].words.startswith("Not usable yet")


def test_the_api_tells_the_bill_and_its_csv_adds_up_to_the_cent(scene: Watched) -> None:
    scene.pass_time(3601)
    scene.silent(60)
    scene.silent(400)
    scene.returns()
    scene.pass_time(77)
    url = f"/api/v1/rentals/{scene.rental.pk}/bill/"
    told = api_of(scene.alice).get(url).json()["data"]
    lines = told["lines"]
    assert sum(Decimal(line["amount"]) for line in lines) == Decimal(told["total"]) > 0
    assert told["agrees_with_ledger"] is True
    assert Decimal(told["in_ledger"]) + Decimal(told["not_yet_in_ledger"]) == Decimal(told["total"])
    assert lines[0]["opened_by"]["event"] == "rental.running"
    assert {gap["seconds"] for gap in told["not_billed"]} == {460}
    answer = api_of(scene.alice).get(url, {"format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="bill-{scene.rental.pk}.csv"'
    *rows, total = csv.DictReader(io.StringIO(answer.content.decode()))
    assert total["line"] == "total"
    for column in ("amount", "amount_cents", "host_share", "fee"):
        assert sum(Decimal(row[column]) for row in rows) == Decimal(total[column]), column
    rounded = Decimal(told["total"]).quantize(Decimal("0.01"))
    assert Decimal(total["amount_cents"]) == rounded
    assert [row["line"] for row in rows] == [line["id"] for line in lines]


def test_a_format_that_nobody_knows_and_a_bill_of_somebody_else_are_refused(scene: Watched) -> None:
    url = f"/api/v1/rentals/{scene.rental.pk}/bill/"
    assert refusal(api_of(scene.alice).get(url, {"format": "xml"})) == (400, "format_unknown")
    carol = api_of(cast.person("carol"))
    assert refusal(carol.get(url, {"format": "csv"})) == (404, "rental_unknown")


def test_the_page_shows_lines_gaps_and_what_was_paid_back(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(7200, noticed=False)
    billing.roll_up()
    scene.returns()
    shown = pages_of(scene.alice).get(f"/rentals/{scene.rental.pk}/bill/").content.decode()
    for words in ("The log and the ledger say the same", "Not billed", "7140 s paid back", "mends"):
        assert words in shown, words
    Transfer.objects.none()
    assert f'id="line-{explained(scene).lines[0].charge.meter_id}"' in shown


@pytest.mark.parametrize("seed", range(12))
def test_over_a_random_life_the_lines_make_the_ledger_to_the_nano(
    scene: Watched, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(14):
        try:
            with transaction.atomic():
                _something(scene, chance)
        except DomainError:
            pass
        scene.drain()
        adds_up(scene)
    call_command("bill_replay", str(scene.rental.pk))


def _something(scene: Watched, chance: random.Random) -> None:
    """One thing that happens to a rental; what is not possible now is refused."""
    seconds = chance.choice([1, 20, 61, 700, 7200])
    what = chance.choice(
        [
            "time",
            "time",
            "silence",
            "silence",
            "back",
            "post",
            "stop",
            "start",
            "restart",
            "deposit",
        ]
    )
    if what == "time":
        scene.pass_time(seconds)
    elif what == "silence":
        scene.silent(seconds, noticed=chance.random() < 0.5)
    elif what == "back":
        states = [WorkloadState.RUNNING, WorkloadState.STOPPED, WorkloadState.STARTING]
        scene.returns(chance.choice(states))
    elif what == "post":
        billing.roll_up()
    elif what == "stop":
        scene.stopped()
    elif what == "start":
        services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    elif what == "restart":
        services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    else:
        amount, idem = seconds * money.NANO, f"more-{chance.random()}"
        billing.deposit(actor=scene.bob, owner_id=scene.alice.user_id, amount=amount, idem=idem)
