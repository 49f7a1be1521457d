"""What the clock and the agent's reports do to a rental: deadlines, refused addresses, doubled news."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.db import connection

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import bus, clock, money
from core.ids import new_id
from hostagent.protocol import WorkloadState
from nodes.machine import NodeStatus
from nodes.models import Allocation, Node, PortLease
from rentals import probing, reasons, reconcile, services, tasks
from rentals.models import Rental
from rentals.tests.test_life import Scene
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
TRIP = """
CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'tripped'; END $$;
CREATE TRIGGER trip BEFORE UPDATE ON rentals_rental FOR EACH ROW
WHEN (OLD.id = '{rental}') EXECUTE FUNCTION trip();
"""


class Coming(Scene):
    """alice's rental while it comes up: its address does not answer, and nothing is billed."""

    def __init__(self, drain: Drain, traveller: time_machine.Traveller) -> None:
        cast.proxy_server()
        self.drain, self.traveller = drain, traveller
        self.alice, self.bob = cast.person("alice", usd=50), cast.person("bob")
        self.agent, self.offer = cast.machine(self.bob)
        self.rental = cast.rented(self.alice, self.offer)
        self.link = self.agent.connect()

    def end(self) -> tuple[str, str, str]:
        """Return the state, the code of the end and whose doing it was."""
        rental = self.now()
        return rental.state, (rental.end or {})["code"], (rental.end or {})["party"]


def look_once(host: str, port: int, **_: float) -> bool:
    """Look once instead of for four seconds; the waiting itself has tests of its own below."""
    return probing.ssh_answers(host, port, timeout=0)


@pytest.fixture
def coming(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coming]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: False)
    monkeypatch.setattr(probing, "wait_for_ssh", look_once)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        coming = Coming(drain, traveller)
        yield coming
        audit.seal_new()
        assert broken() == []


@pytest.fixture
def running(coming: Coming, monkeypatch: pytest.MonkeyPatch) -> Coming:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    coming.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    assert coming.now().state == "running"
    return coming


def nothing_was_charged(scene: Scene) -> bool:
    balance = billing.balance_of(owner_id=scene.alice.user_id)
    return (balance.available, balance.locked) == (50 * money.NANO, 0)


@pytest.mark.parametrize(
    ("seen", "limit", "code"),
    [
        (WorkloadState.PULLING, 1200, "pulling_timeout"),
        (WorkloadState.STARTING, 120, "starting_timeout"),
        (WorkloadState.RUNNING, 120, "starting_timeout"),
    ],
)
def test_a_phase_that_takes_too_long_is_the_hosts_fault_and_free(
    coming: Coming, seen: WorkloadState, limit: int, code: str
) -> None:
    coming.says(seen)
    coming.traveller.shift(limit)
    reconcile.sweep()
    assert coming.now().end is None
    coming.traveller.shift(1)
    reconcile.sweep()
    assert coming.end() == ("stopping", code, "host")
    coming.says(WorkloadState.ABSENT)
    assert coming.end() == ("ended", code, "host")
    assert nothing_was_charged(coming)
    assert not Allocation.objects.filter(released_at=None).exists()


def test_an_agent_that_never_says_a_word_is_given_up_after_the_same_time(coming: Coming) -> None:
    coming.traveller.shift(1201)
    reconcile.sweep()
    assert coming.end() == ("stopping", "reserved_timeout", "host")


def test_a_container_that_vanishes_on_its_way_up_ends_the_rental_at_once(coming: Coming) -> None:
    coming.says(WorkloadState.STARTING)
    coming.says(WorkloadState.ABSENT)
    assert coming.end() == ("ended", "host_removed", "host")
    assert not Allocation.objects.filter(released_at=None).exists()
    assert billing.balance_of(owner_id=coming.alice.user_id).available == 50 * money.NANO


def test_an_address_that_frps_refuses_is_the_platforms_fault(coming: Coming) -> None:
    coming.says(WorkloadState.STARTING, code="tunnel_refused", message="port taken")
    coming.traveller.shift(10)
    reconcile.sweep()
    assert coming.now().end is None
    coming.traveller.shift(1)
    reconcile.sweep()
    assert coming.end() == ("stopping", "tunnel_refused", "platform")
    coming.says(WorkloadState.ABSENT)
    assert services.describe(coming.now()).sentence == (
        "Your public address could not be opened on our side. Rent again for another one. "
        "Nothing was charged."
    )
    assert nothing_was_charged(coming)


@pytest.mark.parametrize(
    ("code", "party"),
    [("image_missing", "renter"), ("oom_killed", "renter"), ("of_tomorrow", "host"), ("", "host")],
)
def test_a_failure_names_whose_it_is(coming: Coming, code: str, party: str) -> None:
    coming.says(WorkloadState.FAILED, code=code)
    known = code if code in reasons.CATALOGUE else "start_failed"
    assert coming.end() == ("stopping", known, party)
    assert (coming.now().end or {})["message"] == "The container could not be started."


def test_news_that_come_again_or_in_the_wrong_order_bill_nothing_twice(running: Coming) -> None:
    since = running.now().running_since
    running.traveller.shift(50)
    system, rental_id = Actor.system(), running.rental.pk
    services.mark_running(actor=system, rental_id=rental_id, at=clock.epoch())
    services.mark_starting(actor=system, rental_id=rental_id)
    services.mark_pulling(actor=system, rental_id=rental_id)
    services.mark_stopped(actor=system, rental_id=rental_id)
    services.mark_gone(actor=system, rental_id=rental_id)
    services.lose_disk(actor=system, rental_id=rental_id, at=clock.epoch())
    rental = running.now()
    assert (rental.state, rental.running_since) == ("running", since)
    assert (running.seconds("compute"), running.seconds("storage")) == (50, 50)


def test_what_has_come_down_cannot_fail_any_more(running: Coming) -> None:
    running.stopped()

    def fail() -> None:
        services.fail_rental(
            actor=Actor.system(), rental_id=running.rental.pk, code="x", message="x"
        )

    fail()
    assert running.end()[:2] == ("stopped", "stopped_by_renter")
    services.end_rental(actor=running.alice, rental_id=running.rental.pk)
    fail()
    running.says(WorkloadState.ABSENT)
    fail()
    assert running.end()[:2] == ("ended", "ended_by_renter")


def test_a_disk_that_vanished_while_it_stood_still_is_billed_to_that_second(
    running: Coming,
) -> None:
    running.pass_time(100)
    running.stopped()
    running.traveller.shift(30)
    running.says(WorkloadState.ABSENT)
    assert running.end() == ("ended", "host_removed", "host")
    assert (running.seconds("compute"), running.seconds("storage")) == (100, 130)
    assert not PortLease.objects.filter(released_at=None, workload__isnull=False).exists()


def test_a_disk_that_is_being_deleted_is_not_lost_by_its_host(running: Coming) -> None:
    services.end_rental(actor=running.alice, rental_id=running.rental.pk)
    services.lose_disk(actor=Actor.system(), rental_id=running.rental.pk, at=clock.epoch())
    assert running.end()[1] == "ended_by_renter"


def test_a_rental_that_ends_on_a_lost_machine_ends_at_once_and_free_of_more(
    running: Coming,
) -> None:
    running.pass_time(100)
    services.end_rental(actor=running.alice, rental_id=running.rental.pk)
    assert running.now().state == "stopping"
    Node.objects.update(status=NodeStatus.OFFLINE.value)
    running.traveller.shift(500)
    reconcile.pause_node(running.rental.node_id, clock.epoch())
    assert running.end() == ("ended", "ended_by_renter", "renter")
    assert running.seconds("compute") == 100
    Node.objects.update(status=NodeStatus.ONLINE.value)
    running.says(WorkloadState.ABSENT)


def test_one_stuck_rental_does_not_stop_the_others(
    coming: Coming, caplog: pytest.LogCaptureFixture
) -> None:
    _, offer = cast.machine(coming.bob, name="atlas-04")
    other = cast.rented(coming.alice, offer)
    stuck = Rental.objects.exclude(pk=other.pk).get()
    # The database itself refuses whatever is done to this one.
    with connection.cursor() as cursor:
        cursor.execute(TRIP.format(rental=stuck.pk))
    coming.traveller.shift(1201)
    reconcile.sweep()
    other.refresh_from_db()
    assert (coming.now().state, other.state) == ("reserved", "stopping")
    assert f"rental {stuck.pk} is stuck" in caplog.text


def test_the_news_of_a_workload_without_a_rental_are_harmless(coming: Coming) -> None:
    reconcile.advance_workload(new_id())
    assert coming.now().state == "reserved"


def test_the_clocks_task_runs_alone_and_gives_its_place_back(
    coming: Coming, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming.traveller.shift(1201)
    with bus.alone("rentals.reconcile", seconds=30) as mine:
        assert mine
        tasks.reconcile_rentals()
        assert coming.now().state == "reserved"
    tasks.reconcile_rentals()
    assert coming.now().state == "stopping"
    tasks.reconcile_rentals()


@pytest.mark.parametrize(
    ("greeting", "answers"), [(b"SSH-2.0-OpenSSH_9.2\r\n", True), (b"HTTP/1.1 400\r\n", False)]
)
def test_only_an_ssh_greeting_counts_as_an_answer(greeting: bytes, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert probing.wait_for_ssh("127.0.0.1", port, patience=0.01) is answers
        thread.join(5)
    assert probing.wait_for_ssh("127.0.0.1", port, patience=0.01) is False


def test_a_server_that_comes_late_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for greeting in (b"", b"", b"SSH-2.0-x\r\n"):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(greeting)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert probing.wait_for_ssh("127.0.0.1", port, patience=5, pause=0.01) is True
        thread.join(5)
