"""When seconds are posted, how a gap is mended, and that many workers at once post each second once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from accounts.actors import Actor
from billing import ledger, services
from billing.models import Account, Meter, Transfer
from billing.tests.test_ledger import START, SYSTEM, meter
from core import clock, money
from tests import cast

HOUR = 3600
rolled = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def couples(count: int, usd: int = 1) -> list[Meter]:
    """Return `count` running meters, each of another wallet and for another host."""
    return [meter(cast.person("alice", usd=usd), cast.person("bob")) for _ in range(count)]


def posted(opened: Meter, kind: str = "share") -> list[tuple[int, int]]:
    """Return what is posted of a meter, in seconds since it was opened."""
    rows = Transfer.objects.filter(meter=opened, kind=kind).order_by("t0")
    return [(row.t0 - opened.started, row.t1 - opened.started) for row in rows]  # type: ignore[operator]


@rolled
def test_deposits_and_holds_post_nothing_and_leave_the_line_as_it_was(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=1), cast.person("bob")
    opened = meter(alice, bob)
    traveller.shift(100)
    services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=1000, idem="more")
    hold = services.place_hold(
        actor=SYSTEM, owner_id=alice.user_id, amount=5000, reason="x", subject_id=uuid.uuid4()
    )
    services.release_hold(actor=SYSTEM, hold_id=hold.pk)
    assert posted(opened) == []
    balance = services.balance_of(owner_id=alice.user_id)
    assert balance.total == balance.available == money.NANO + 1000 - 100_000
    assert services.verify_ledger() == []


@rolled
def test_a_reversal_names_the_posting_in_which_the_gap_begins(
    traveller: time_machine.Traveller,
) -> None:
    [opened] = couples(1)
    for _ in range(3):
        traveller.shift(100)
        services.roll_up()
    assert posted(opened) == [(0, 40), (40, 140), (140, 240)]
    services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=opened.started + 90)
    assert posted(opened, "share_back") == posted(opened, "fee_back") == [(90, 240)]
    for back in Transfer.objects.filter(meter=opened, kind__endswith="_back"):
        assert back.reverses is not None
        assert (back.reverses.kind, back.reverses.t0) == (back.kind[:-5], opened.started + 40)
    assert services.verify_ledger() == []


@rolled
def test_the_database_refuses_a_reversal_that_names_nothing_and_a_second_one_of_a_gap(
    traveller: time_machine.Traveller,
) -> None:
    [opened] = couples(1)
    traveller.shift(100)
    services.roll_up()
    services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=opened.started + 30)
    back = Transfer.objects.get(meter=opened, kind="share_back")
    back.pk = None
    with pytest.raises(IntegrityError, match="second_billed_once"), transaction.atomic():
        Transfer.objects.bulk_create([back])
    back.reverses, back.t0 = None, opened.started + 31
    with pytest.raises(IntegrityError, match="names_original"), transaction.atomic():
        Transfer.objects.bulk_create([back])


@rolled
def test_a_meter_that_starts_before_what_its_wallet_has_posted_loses_no_second(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=1), cast.person("bob")
    other, subject, start = meter(alice, bob), uuid.uuid4(), clock.epoch()
    traveller.shift(100)
    services.close_meter(actor=SYSTEM, meter_id=other.pk)
    late = {"kind": "compute", "owner_id": alice.user_id, "payee_id": bob.user_id, "fee_bps": 0}
    opened = services.open_meter(
        actor=SYSTEM, rate=500, subject_id=subject, at=start + 70, **late  # type: ignore[arg-type]
    )  # fmt: skip
    assert (opened.started - start, posted(opened)) == (70, [(0, 30)])
    services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=start + 90)
    again = services.open_meter(
        actor=SYSTEM, rate=500, subject_id=subject, at=start + 80, **late  # type: ignore[arg-type]
    )  # fmt: skip
    assert again.started == start + 90
    poor = services.open_meter(
        actor=SYSTEM, rate=money.NANO // 10, subject_id=uuid.uuid4(), at=start, **late  # type: ignore[arg-type]
    )  # fmt: skip
    assert poor.started == start + 100 - 9
    assert services.balance_of(owner_id=alice.user_id).available >= 0
    assert services.verify_ledger() == []


@rolled
def test_after_six_hours_without_the_clock_catch_up_bills_what_ran_and_nothing_else(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=100), cast.person("bob")
    whole, ends = meter(alice, bob), meter(alice, bob, rate=777)
    poor = cast.person("carol")
    services.deposit(actor=SYSTEM, owner_id=poor.user_id, amount=2 * HOUR * 1000 + 5, idem="poor")
    short = meter(poor, bob)
    traveller.shift(HOUR)
    services.close_meter(actor=SYSTEM, meter_id=ends.pk)
    traveller.shift(5 * HOUR)
    assert services.sweep_exhausted() == 1
    assert services.roll_up(chunk=1) == 2
    assert posted(whole) == [(0, HOUR), (HOUR, 6 * HOUR - 60)]
    assert posted(ends) == [(0, HOUR)]
    assert posted(short) == [(0, 2 * HOUR)]
    assert services.balance_of(owner_id=poor.user_id).total == 5
    assert services.roll_up() == 0
    assert services.verify_ledger() == []


@committed
def test_four_workers_that_catch_up_together_post_every_meter_once(
    traveller: time_machine.Traveller,
) -> None:
    opened = couples(40)
    traveller.shift(6 * HOUR)
    start = threading.Barrier(4)

    def work(_: int) -> int:
        start.wait()
        try:
            return services.roll_up(chunk=3)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 40
    for one in opened:
        assert posted(one) == posted(one, "fee") == [(0, 6 * HOUR - 60)]
    assert services.verify_ledger() == []


@committed
def test_a_writer_that_waited_for_the_wallet_asks_for_the_time_afterwards(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=1), cast.person("bob")
    first, second = meter(alice, bob), meter(alice, bob)

    def close() -> None:
        try:
            services.close_meter(actor=SYSTEM, meter_id=second.pk)
        finally:
            connection.close()

    waiting = threading.Thread(target=close)
    with transaction.atomic():
        ledger.lock_wallet(first.wallet_id)
        waiting.start()
        _until_somebody_waits_for_a_lock()
        traveller.shift(100)
        services.close_meter(actor=SYSTEM, meter_id=first.pk)
    waiting.join()
    assert posted(first) == posted(second) == [(0, 100)]
    assert Account.objects.get(pk=first.wallet_id).asof == first.started + 100
    assert services.verify_ledger() == []


def _until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 20
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(query)
            if cursor.fetchone():
                return
    raise AssertionError("nobody waits")


@committed
def test_two_people_who_rent_from_each_other_never_wait_for_each_other() -> None:
    alice, bob = cast.person("alice", usd=100), cast.person("bob", usd=100)

    def rent(pair: tuple[Actor, Actor]) -> None:
        try:
            for _ in range(25):
                opened = meter(*pair)
                services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=clock.epoch() + 1)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rent, [(alice, bob), (bob, alice)] * 2))
    assert Meter.objects.exclude(ended=None).count() == 100
    assert services.verify_ledger() == []


@rolled
@pytest.mark.parametrize("table", ["billing_account", "billing_meter"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_accounts_and_meters_are_never_deleted(table: str, statement: str) -> None:
    couples(1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match=f"rows of {table} last"), transaction.atomic():
            cursor.execute(statement.format(table))


@rolled
@pytest.mark.parametrize("rows", [1, 2])
def test_the_database_refuses_a_transfer_to_nobody(rows: int) -> None:
    alice = cast.person("alice", usd=1)
    wallet = Account.objects.get(kind="wallet", owner_id=alice.user_id)
    nobody = [
        Transfer(group_id=uuid.uuid4(), src=wallet, dst_id=10**12 + n, amount=1, kind="test",
                 created_at=clock.now())
        for n in range(rows)
    ]  # fmt: skip
    with pytest.raises(IntegrityError, match="between accounts that exist"), transaction.atomic():
        Transfer.objects.bulk_create(nobody)
    wallet.refresh_from_db()
    assert wallet.balance == money.NANO
