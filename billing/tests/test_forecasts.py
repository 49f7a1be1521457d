"""Who runs out of money is told in time: once at each hour set for it, and again after paying in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import time_machine
from django.conf import settings

from accounts.actors import Actor
from audit import services as audit
from audit.models import AuditEvent
from billing import metering, services, tasks
from billing.models import Account, Meter
from billing.tests.hosts import SYSTEM
from core.ids import new_id
from core.models import OutboxMessage
from tests import cast

pytestmark = pytest.mark.django_db
HOUR = 3600
RATE = 1_000_000


def told() -> list[int]:
    """Return which warnings were published since the last look."""
    rows = OutboxMessage.objects.filter(topic="billing.wallet_low").order_by("pk")
    levels = [row.payload["within"] for row in rows]
    rows.delete()
    return levels


def look() -> list[int]:
    tasks.warn_low_wallets()
    tasks.warn_low_wallets()
    return told()


def pay(alice: Actor, seconds: int) -> None:
    services.deposit(
        actor=SYSTEM, owner_id=alice.user_id, amount=seconds * RATE, idem=str(new_id())
    )


def burn(alice: Actor) -> Meter:
    return services.open_meter(
        actor=SYSTEM, kind="compute", owner_id=alice.user_id, payee_id=new_id(),
        rate=RATE, subject_id=new_id(),
    )  # fmt: skip


@pytest.fixture
def clock_() -> Iterator[time_machine.Traveller]:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield traveller


def test_each_warning_comes_once_when_its_hour_is_crossed(
    clock_: time_machine.Traveller,
) -> None:
    alice = cast.person("alice")
    pay(alice, 30 * HOUR)
    burn(alice)
    assert look() == []
    clock_.shift(6 * HOUR)
    assert look() == [24 * HOUR]
    clock_.shift(18 * HOUR)
    assert look() == [6 * HOUR]
    clock_.shift(5 * HOUR + 1)
    assert look() == [HOUR]
    clock_.shift(HOUR)
    assert look() == []


def test_paying_in_makes_the_next_crossing_new(clock_: time_machine.Traveller) -> None:
    alice = cast.person("alice")
    pay(alice, 2 * HOUR)
    meter = burn(alice)
    assert look() == [6 * HOUR]
    pay(alice, 10 * HOUR)
    # It was told of six hours; twelve are within the day, of which nothing new is to be said.
    assert look() == []
    clock_.shift(7 * HOUR)
    assert look() == [6 * HOUR]
    services.close_meter(actor=SYSTEM, meter_id=meter.pk)
    assert look() == []
    burn(alice)
    assert look() == [], "a pause is no news"
    pay(alice, 100 * HOUR)
    assert look() == []
    assert Account.objects.get(kind="wallet", owner_id=alice.user_id).warned is None


@pytest.mark.parametrize(
    ("left", "level"), [(0, 60), (60, 60), (61, 600), (600, 600), (601, None), (-5, 60)]
)
def test_the_nearest_warning_counts(left: int, level: int | None) -> None:
    assert metering.warning_level(left=left, levels=[600, 60]) == level


@pytest.mark.parametrize(
    ("day", "bps"),
    [("2026-01-01", 1000), ("2026-12-31", 1000), ("2027-01-01", 800), ("2028-06-01", 1200)],
)
def test_the_fee_is_that_of_the_schedule_when_a_meter_opens(
    day: str, bps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "fee_schedule", [(1_798_761_600, 800), (1_830_297_600, 1200)])  # fmt: skip
    with time_machine.travel(f"{day}T00:00:00Z", tick=False):
        alice = cast.person("alice")
        pay(alice, HOUR)
        meter = burn(alice)
        assert meter.rate - meter.payee_rate == RATE * bps // 10_000
        assert services.fees_told()[0] == (None, bps)


def test_a_fee_that_changes_later_leaves_open_meters_alone_and_splits_to_the_nano_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.DC, "fee_schedule", [(1_798_761_600, 3333)])
    with time_machine.travel("2026-12-31T23:00:00Z", tick=False) as traveller:
        alice = cast.person("alice")
        pay(alice, 10 * HOUR)
        before = burn(alice)
        assert services.fees_told() == [(None, 1000), (1_798_761_600, 3333)]
        traveller.shift(2 * HOUR)
        after = burn(alice)
        services.close_meter(actor=SYSTEM, meter_id=before.pk)
        services.close_meter(actor=SYSTEM, meter_id=after.pk)
        assert (before.payee_rate, after.payee_rate) == (900_000, 666_700)
        assert services.verify_ledger() == []


def fees_recorded() -> list[tuple[str, int, list[list[int]]]]:
    told = AuditEvent.objects.filter(subject_id=services.FEES_ID).order_by("seal__seq")
    return [(each.verb, each.data["fee_bps"], each.data["schedule"]) for each in told]


def test_a_change_of_the_fees_is_recorded_once_with_what_was_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        tasks.note_fees()
        tasks.note_fees()
        audit.seal_new()
        assert fees_recorded() == [("fees.noted", 1000, [])]
        # The clock is set back meanwhile: what was recorded last stays the last.
        traveller.shift(-6 * HOUR)
        monkeypatch.setattr(settings.DC, "fee_schedule", [(1_798_761_600, 800)])
        for _ in range(3):
            tasks.note_fees()
            audit.seal_new()
        assert fees_recorded()[1:] == [("fees.changed", 1000, [[1_798_761_600, 800]])]
        # That a day of the schedule comes changes nothing of it.
        traveller.shift(90 * 24 * HOUR)
        tasks.note_fees()
        monkeypatch.setattr(settings.DC, "fee_bps", 900)
        tasks.note_fees()
        audit.seal_new()
    newest = audit.newest(subject_id=services.FEES_ID)
    assert newest is not None
    assert (newest.verb, newest.actor_kind) == ("fees.changed", "system")
    assert newest.data == {
        "fee_bps": 900,
        "schedule": [[1_798_761_600, 800]],
        "before": {"fee_bps": 1000, "schedule": [[1_798_761_600, 800]]},
    }
    assert len(fees_recorded()) == 3
    assert audit.verify() == []
