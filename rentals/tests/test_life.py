"""Stops, starts, limits and empty wallets: the second at which the bill ends, and what becomes of the disk."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import time_machine

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, money
from core.errors import Conflict, DomainError, Invalid, NotFound
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes.models import Allocation, Node
from rentals import probing, reconcile, services
from rentals.models import Rental
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
HOUR, DAY = 3600, 86_400


class Scene:
    """alice's rental on bob's machine, running, at a clock that only the test moves."""

    def __init__(self, drain: Drain, traveller: time_machine.Traveller, usd: int = 50) -> None:
        cast.proxy_server()
        self.drain, self.traveller = drain, traveller
        self.alice, self.bob = cast.person("alice", usd=usd), cast.person("bob")
        self.agent, self.offer = cast.machine(self.bob)
        self.rental = cast.rented(self.alice, self.offer)
        self.link = self.agent.connect()
        self.says(WorkloadState.STARTING, WorkloadState.RUNNING)

    def says(self, *states: WorkloadState, **more: str | int) -> Rental:
        """The agent reports; everything that follows from it happens."""
        for state in states:
            self.agent.report(self.link, cast.workload_of(self.rental), state, **more)
            self.drain()
        return self.now()

    def now(self) -> Rental:
        self.rental.refresh_from_db()
        return self.rental

    def pass_time(self, seconds: int) -> Rental:
        """Let time pass with the machine beating, and the clock's tasks run once at its end."""
        self.traveller.shift(seconds)
        self.agent.beat()
        reconcile.enforce_limits()
        billing.sweep_exhausted()
        self.drain()
        return self.now()

    def seconds(self, kind: str) -> int:
        bill = billing.bill_of(subject_id=self.rental.pk)
        return sum(line.seconds for line in bill.lines if line.kind == kind)

    def stopped(self) -> Rental:
        services.stop_rental(actor=self.alice, rental_id=self.rental.pk)
        return self.says(WorkloadState.STOPPED)


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        assert scene.now().state == "running"
        yield scene
        audit.seal_new()
        assert broken() == []


def spend_down_to(scene: Scene, seconds: int) -> None:
    """Leave alice exactly `seconds` of this rental, by letting time pass."""
    runs_out = billing.balance_of(owner_id=scene.alice.user_id).runs_out
    assert runs_out is not None
    scene.pass_time(runs_out - clock.epoch() - seconds)


def test_a_container_that_ends_while_it_runs_keeps_its_disk(scene: Scene) -> None:
    scene.pass_time(100)
    rental = scene.says(WorkloadState.FAILED, code="container_exited", message="Exit 1.")
    assert (rental.state, scene.seconds("compute")) == ("stopping", 100)
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, (rental.end or {})["code"]) == ("stopped", "container_exited")
    assert cast.workload_of(rental).wish == "stopped"


def test_a_start_that_fails_after_a_stop_keeps_the_disk_and_gives_the_hold_back(
    scene: Scene,
) -> None:
    scene.stopped()
    held = billing.balance_of(owner_id=scene.alice.user_id).locked
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.FAILED, code="engine_error", message="No space left.")
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, rental.compute_hold_id) == ("stopped", None)
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == held


def test_a_machine_that_lost_the_container_ends_the_rental(scene: Scene) -> None:
    rental = scene.says(WorkloadState.ABSENT)
    assert (rental.state, (rental.end or {})["code"]) == ("ended", "host_removed")


def test_a_start_during_the_stop_turns_it_round_and_nobody_else_gets_the_machine(
    scene: Scene,
) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    [before] = Allocation.objects.filter(released_at=None)
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STOPPED)
    assert list(Allocation.objects.filter(released_at=None)) == [before]
    assert scene.says(WorkloadState.RUNNING).state == "running"


def test_a_rental_can_be_ended_while_it_stops(scene: Scene) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert services.rental_actions(scene.now()) == []
    rental = scene.says(WorkloadState.ABSENT)
    assert (rental.state, (rental.end or {})["code"]) == ("ended", "ended_by_renter")
    with pytest.raises(Conflict, match="cannot be told"):
        services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)


def test_an_empty_wallet_stops_the_work_then_lives_on_the_reserve_then_loses_the_disk(
    scene: Scene,
) -> None:
    spend_down_to(scene, 10)
    assert scene.now().state == "running"
    rental = scene.pass_time(500)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "balance_used_up")
    rental = scene.says(WorkloadState.STOPPED)
    assert rental.state == "stopped"
    # The reserve pays the disk from the second the money ended, whenever the platform noticed.
    balance = billing.balance_of(owner_id=scene.alice.user_id)
    assert (balance.locked, balance.runs_out is None) == (0, False)
    # What was too little for a second of work still buys some seconds of storage.
    crumbs = (rental.compute_rate + rental.storage_rate) // rental.storage_rate
    assert 0 <= (balance.runs_out or 0) - (clock.epoch() - 490 + 2 * DAY) <= crumbs
    assert billing.sweep_exhausted() == 0
    assert scene.pass_time(2 * DAY - 491).state == "stopped"
    rental = scene.pass_time(60)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "disk_unpaid")
    assert scene.says(WorkloadState.ABSENT).state == "ended"
    left = billing.balance_of(owner_id=scene.alice.user_id)
    assert 0 <= left.total < rental.compute_rate
    assert left.total + billing.bill_of(subject_id=rental.pk).total == 50 * money.NANO


def test_doubled_and_late_news_of_an_empty_wallet_does_nothing_twice(scene: Scene) -> None:
    spend_down_to(scene, 0)
    scene.traveller.shift(30)
    for _ in range(3):
        billing.sweep_exhausted()
    scene.drain()
    for _ in range(3):
        services.use_up(actor=Actor.system(), owner_id=scene.alice.user_id)
    rental = scene.now()
    assert (rental.state, cast.workload_of(rental).wish) == ("stopping", "stopped")


def test_money_that_comes_in_time_saves_the_disk(scene: Scene) -> None:
    spend_down_to(scene, 0)
    scene.pass_time(10)
    scene.says(WorkloadState.STOPPED)
    scene.pass_time(DAY)
    billing.deposit(
        actor=Actor.system(), owner_id=scene.alice.user_id, amount=10 * money.NANO, idem="in time"
    )
    assert scene.pass_time(DAY + HOUR).state == "stopped"
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    rental = scene.says(WorkloadState.RUNNING)
    assert rental.state == "running"
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == rental.storage_rate * 2 * DAY


def test_the_disk_of_a_stopped_rental_costs_nothing_while_its_machine_is_lost(scene: Scene) -> None:
    scene.stopped()
    scene.pass_time(100)
    Node.objects.filter(pk=scene.agent.node_id).update(last_beat=clock.now())
    scene.traveller.shift(HOUR)
    nodes.sweep_liveness()
    scene.drain()
    assert scene.now().unreachable_since is not None
    assert scene.seconds("storage") == 100
    scene.traveller.shift(HOUR)
    scene.link = scene.agent.connect()
    scene.drain()
    scene.pass_time(50)
    assert scene.now().unreachable_since is None
    assert scene.seconds("storage") == 150


def test_an_end_date_stops_it_at_exactly_that_second(scene: Scene) -> None:
    ends_at = clock.now() + dt.timedelta(seconds=500)
    services.set_limits(
        actor=scene.alice, rental_id=scene.rental.pk, ends_at=ends_at, spend_cap=None
    )
    assert scene.pass_time(499).state == "running"
    rental = scene.pass_time(40)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "end_reached")
    assert scene.seconds("compute") == 500
    scene.says(WorkloadState.STOPPED)
    with pytest.raises(Conflict) as refused:
        services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert refused.value.code == "limit_reached"
    services.set_limits(actor=scene.alice, rental_id=scene.rental.pk, ends_at=None, spend_cap=None)
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)


def test_a_cap_warns_at_four_fifths_and_stops_at_the_last_second_that_fits(scene: Scene) -> None:
    rate = scene.rental.compute_rate + scene.rental.storage_rate
    services.set_limits(
        actor=scene.alice, rental_id=scene.rental.pk, ends_at=None, spend_cap=1000 * rate + 5
    )
    assert scene.pass_time(790).cap_warned_at is None
    assert scene.pass_time(20).cap_warned_at is not None
    rental = scene.pass_time(300)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "cap_reached")
    assert scene.seconds("compute") == 1000


@pytest.mark.parametrize(
    ("ends_in", "cap", "code"),
    [
        (-1, None, "ends_at_range"),
        (366 * DAY, None, "ends_at_range"),
        (None, 0, "spend_cap_range"),
        (None, -5, "spend_cap_range"),
        (None, 1, "spend_cap_range"),
        (None, 10**18, "spend_cap_range"),
    ],
)
def test_limits_that_make_no_sense_are_refused_and_change_nothing(
    scene: Scene, ends_in: int | None, cap: int | None, code: str
) -> None:
    scene.pass_time(10)
    ends_at = None if ends_in is None else clock.now() + dt.timedelta(seconds=ends_in)
    with pytest.raises(Invalid) as refused:
        services.set_limits(
            actor=scene.alice, rental_id=scene.rental.pk, ends_at=ends_at, spend_cap=cap
        )
    assert refused.value.code == code
    assert (scene.now().ends_at, scene.now().spend_cap) == (None, None)


def test_carol_limits_nothing_of_alices(scene: Scene) -> None:
    carol = cast.person("carol")
    with pytest.raises(NotFound):
        services.set_limits(actor=carol, rental_id=scene.rental.pk, ends_at=None, spend_cap=None)


def test_what_has_ended_takes_no_limits(scene: Scene) -> None:
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    with pytest.raises(DomainError) as refused:
        services.set_limits(
            actor=scene.alice, rental_id=scene.rental.pk, ends_at=None, spend_cap=None
        )
    assert refused.value.code == "action_not_now"
    scene.says(WorkloadState.ABSENT)
    assert accounts.actor_of(scene.now().renter).user_id == scene.alice.user_id


def test_a_machine_whose_work_is_free_runs_and_bills_its_disk_only(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        cast.proxy_server()
        alice, bob = cast.person("alice", usd=50), cast.person("bob")
        agent, offer = cast.machine(bob)
        nodes.set_prices(
            actor=bob,
            node_id=offer.node_id,
            gpu_hourly=Decimal(0),
            cpu_node_hourly=Decimal(0),
            storage_gb_monthly=Decimal(1),
        )
        rental = cast.rented(alice, offer)
        link = agent.connect()
        agent.report(link, cast.workload_of(rental), WorkloadState.RUNNING)
        drain()
        rental.refresh_from_db()
        assert (rental.state, rental.compute_meter_id, rental.compute_hold_id) == (
            "running",
            None,
            None,
        )
        traveller.shift(HOUR)
        bill = billing.bill_of(subject_id=rental.pk)
        assert [(line.kind, line.seconds) for line in bill.lines] == [("storage", HOUR)]
        services.end_rental(actor=alice, rental_id=rental.pk)
        agent.report(link, cast.workload_of(rental), WorkloadState.ABSENT)
        drain()
    rental.refresh_from_db()
    assert rental.state == "ended"
    assert billing.balance_of(owner_id=alice.user_id).total == 50 * money.NANO - bill.total
    audit.seal_new()
    assert broken() == []
