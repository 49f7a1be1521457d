"""The clock's look at all running rentals: those that say nothing hold up nobody else."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from accounts.actors import Actor
from core import bus
from hostagent.protocol import WorkloadState
from rentals import probing, tasks
from rentals.models import Rental
from tests import cast

pytestmark = pytest.mark.django_db
SILENT = 5


class Silence:
    """An address that accepts and says nothing, until `SILENT` are there at the same time."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.most = 0
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        kept: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self.server, selectors.EVENT_READ)
            while len(kept) < SILENT:
                for key, _ in selector.select():
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self.server:
                        kept.append(self.server.accept()[0])
                        selector.register(kept[-1], selectors.EVENT_READ)
                    else:
                        # Whoever looked has given up.
                        selector.unregister(one)
                        kept.remove(one)
                        one.close()
                self.most = max(self.most, len(kept))
        for one in kept:
            one.close()


@pytest.fixture
def silence() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.server.close()


def running(alice: Actor, host: Actor, drain: Callable[[], int], name: str) -> Rental:
    agent, offer = cast.machine(host, name=name)
    rental = cast.rented(alice, offer)
    link = agent.connect()
    for state in (WorkloadState.STARTING, WorkloadState.RUNNING):
        agent.report(link, cast.workload_of(rental), state)
        drain()
    rental.refresh_from_db()
    assert rental.state == "running"
    return rental


def test_silent_containers_are_looked_at_together(
    drain: Callable[[], int], silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.proxy_server(count=100)
    alice, bob = cast.person("alice", usd=100), cast.person("bob")
    with monkeypatch.context() as up:
        up.setattr(probing, "ssh_answers", lambda *a, **k: True)
        for number in range(SILENT):
            rental = running(alice, bob, drain, f"m{number}")
            Rental.objects.filter(pk=rental.pk).update(
                ssh_host="127.0.0.1",
                ports={**rental.ports, "22": silence.server.getsockname()[1]},
            )
    tasks.probe_rentals()
    assert silence.most == SILENT
    assert Rental.objects.filter(silent_probes=1).count() == SILENT


def test_whoever_takes_too_long_leaves_the_place_to_the_next() -> None:
    key = "dc:alone:test.place"
    with bus.alone("test.place", seconds=60) as mine:
        assert mine
        # Its time is over, and somebody else came.
        bus.client().set(key, "another", px=60_000)
    assert bus.client().get(key) == b"another"
    bus.client().delete(key)


def test_whoever_keeps_the_place_has_it_for_as_long_as_the_work_lasts() -> None:
    key = "dc:alone:test.kept"
    with bus.alone("test.kept", seconds=0.6) as mine:
        for _ in range(4):
            time.sleep(0.25)
            assert mine.keep()
            with bus.alone("test.kept", seconds=60) as another:
                assert not another
        bus.client().set(key, "another", px=60_000)
        time.sleep(0.25)
        assert not mine.keep()
        assert not mine
    assert bus.client().get(key) == b"another"
    bus.client().delete(key)


@pytest.mark.unit
@pytest.mark.parametrize("host", ["a" * 300, "\udcff", "127.0.0.1"])
def test_what_is_no_address_is_closed(host: str) -> None:
    assert probing.look(host, 1_000_000, timeout=1) is probing.Sign.CLOSED
