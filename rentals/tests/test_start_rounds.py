"""Starts that wait for SSH: they hold up neither the outbox nor each other, and normal ones are let in at once."""

from __future__ import annotations

import datetime as dt
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from django.db.models import F

from accounts.actors import Actor
from core import outbox
from core.ids import new_id
from core.models import OutboxMessage
from hostagent.protocol import Observed, PullProgress, WorkloadReport, WorkloadState
from nodes import gateway
from nodes.models import Workload
from rentals import lobby, probing, reconcile, rounds
from rentals.lobby import Lobby
from rentals.models import Rental
from rentals.probing import Sign
from tests import cast
from tests.stacks import wait_for

pytestmark = pytest.mark.django_db
UP = WorkloadState.RUNNING


@pytest.fixture
def silent_port() -> Iterator[int]:
    """An address that accepts and says nothing."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    kept: list[socket.socket] = []

    def keep() -> None:
        while True:
            try:
                kept.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=keep, daemon=True).start()
    yield server.getsockname()[1]
    server.close()
    for one in kept:
        one.close()


class Start:
    """A rental whose container is about to run, and the agent that tells of it."""

    def __init__(self, alice: Actor, host: Actor, port: int, name: str = "m0") -> None:
        self.agent, offer = cast.machine(host, name=name)
        self.rental = cast.rented(alice, offer)
        ports = {**self.rental.ports, "22": port}
        Rental.objects.filter(pk=self.rental.pk).update(ssh_host="127.0.0.1", ports=ports)
        self.link = self.agent.connect()

    def news(self, state: WorkloadState = UP, **more: object) -> WorkloadReport:
        workload = cast.workload_of(self.rental)
        return WorkloadReport(
            workload_id=str(workload.pk),
            generation=workload.generation,
            state=state,
            **more,  # type: ignore[arg-type]
        )

    def tells(self, *news: WorkloadReport) -> int:
        """Tell it in one frame; return how many events came of it."""
        before = OutboxMessage.objects.count()
        gateway.handle(self.link, Observed(epoch=self.link.epoch, workloads=list(news)))
        return OutboxMessage.objects.count() - before

    @property
    def state(self) -> str:
        self.rental.refresh_from_db()
        return self.rental.state


@pytest.fixture
def people() -> tuple[Actor, Actor]:
    cast.proxy_server(count=100)
    return cast.person("alice", usd=100), cast.person("bob")


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Lobby:
    """The lobby as the worker has it, with threads of its own."""
    real = Lobby()
    monkeypatch.setattr(reconcile, "lobby", real)
    return real


def test_a_start_that_says_nothing_does_not_hold_the_worker(
    people: tuple[Actor, Actor], silent_port: int, beside: Lobby
) -> None:
    start = Start(*people, silent_port)
    start.tells(start.news(WorkloadState.STARTING))
    outbox.drain()
    start.tells(*(start.news(sent_bytes=64_000_000 * number) for number in range(500)))
    began = time.monotonic()
    outbox.drain()
    assert time.monotonic() - began < 1
    assert start.state == "starting"
    assert beside.enter(start.rental.pk, of=[], wait=lambda: None) is False


def test_of_one_workload_in_a_frame_the_last_report_counts_and_is_told_once(
    people: tuple[Actor, Actor], silent_port: int
) -> None:
    start = Start(*people, silent_port)
    pulls = [start.news(WorkloadState.PULLING), start.news(WorkloadState.STARTING)]
    assert start.tells(*pulls * 100) == 1
    assert Workload.objects.get().observed_state == "starting"


def test_what_nobody_has_to_hear_of_is_only_written_down(
    people: tuple[Actor, Actor], silent_port: int
) -> None:
    start = Start(*people, silent_port)
    assert start.tells(start.news(WorkloadState.STARTING)) == 1
    for number in range(1, 5):
        same = start.news(WorkloadState.STARTING, sent_bytes=number, message=f"so far {number}")
        assert start.tells(same) == 0
    assert Workload.objects.get().observed["sent_bytes"] == 4
    assert start.tells(start.news(WorkloadState.STARTING, code="tunnel_refused")) == 1


def test_a_download_is_told_in_steps(people: tuple[Actor, Actor], silent_port: int) -> None:
    start = Start(*people, silent_port)
    told = 0
    for current in range(0, 10_001, 4):
        pull = PullProgress(current=current * 1_000_000, total=10_000_000_000)
        told += start.tells(start.news(WorkloadState.PULLING, pull=pull))
    assert told == 51


def test_starts_that_say_nothing_are_looked_at_together(
    people: tuple[Actor, Actor], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as quick:
        quick.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
        starts = [Start(*people, silent_port, f"m{number}") for number in range(10)]
        for start in starts:
            start.tells(start.news())
        outbox.drain()
    assert [start.state for start in starts] == ["starting"] * 10
    began = time.monotonic()
    reconcile.sweep()
    assert time.monotonic() - began < 1.5


def test_an_answer_to_another_start_of_the_same_rental_says_nothing(
    people: tuple[Actor, Actor], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(*people, silent_port)

    def meanwhile(*args: object, **more: object) -> bool:
        Rental.objects.update(phase_since=F("phase_since") + dt.timedelta(milliseconds=1))
        return True

    monkeypatch.setattr(probing, "wait_for_ssh", meanwhile)
    start.tells(start.news())
    outbox.drain()
    assert start.state == "starting"
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
    reconcile.look_at_starts()
    assert start.state == "running"


def test_whoever_has_lost_its_place_looks_at_nothing_more(
    people: tuple[Actor, Actor], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(*people, silent_port)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    start.tells(start.news())
    outbox.drain()
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
    reconcile.sweep(lambda: False)
    reconcile.look_at_starts(lambda: False)
    assert start.state == "starting"
    reconcile.sweep()
    monkeypatch.setattr(probing, "look", lambda *a, **k: Sign.CLOSED)
    reconcile.probe_running(lambda: False)
    assert (start.state, start.rental.missed_probes) == ("running", 0)


@pytest.mark.django_db(transaction=True)
def test_a_start_is_let_in_beside_the_worker_as_soon_as_it_answers(
    people: tuple[Actor, Actor], beside: Lobby
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            for greeting in (b"", b"", b"SSH-2.0-OpenSSH_9.2\r\n"):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(greeting)

        threading.Thread(target=greet, daemon=True).start()
        start = Start(*people, server.getsockname()[1])
        start.tells(start.news())
        outbox.drain()
        wait_for(lambda: start.state == "running", seconds=5, what="the start")
    wait_for(lambda: not beside._inside, seconds=5, what="the lobby to be empty")


@pytest.mark.unit
def test_nobody_has_more_than_a_share_of_the_lobby_and_what_leaves_makes_room() -> None:
    room, go = Lobby(places=4, share=2), threading.Event()
    one, other = new_id(), new_id()
    guests = [new_id() for _ in range(6)]
    assert room.enter(guests[0], of=[one], wait=go.wait)
    assert not room.enter(guests[0], of=[other], wait=go.wait)
    assert room.enter(guests[1], of=[one, other], wait=go.wait)
    assert not room.enter(guests[2], of=[one], wait=go.wait)
    assert room.enter(guests[2], of=[other], wait=go.wait)
    assert room.enter(guests[3], of=[], wait=go.wait)
    assert not room.enter(guests[4], of=[], wait=go.wait)
    go.set()
    wait_for(lambda: not room._inside, seconds=5, what="the lobby to be empty")
    assert not room._taken
    assert room.enter(guests[0], of=[one, other], wait=go.wait)
    assert lobby.PLACES >= lobby.SHARE


@pytest.mark.unit
def test_a_round_begins_no_look_after_its_deadline_and_keeps_the_order() -> None:
    begun = []

    def look(number: int) -> int:
        begun.append(number)
        return -number

    some = list(rounds.looked_at(range(1000), look, seconds=0))
    assert [one.found for one in some] == [-number for number in range(rounds.LOOKS_AHEAD)]
    assert sorted(begun) == [one.subject for one in some]
    everything = rounds.looked_at(range(1000), look, seconds=60)
    assert [one.subject for one in everything] == list(range(1000))
