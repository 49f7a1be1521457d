"""Where machines meet other programs: frps and its gate, Redis hints, the clock."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.conf import settings

from accounts import services as accounts
from core import bus, clock
from core.errors import Conflict, Forbidden, Invalid
from core.ids import new_id
from hostagent.protocol import Metrics, WorkloadState
from nodes import gate, proxies, tasks
from nodes import services as nodes
from nodes.events import WorkloadWished
from nodes.handlers import hint_gateways
from nodes.hub import Hub
from nodes.machine import NodeStatus
from nodes.models import Node, PortLease, WorkloadLog
from nodes.services import capacity
from rentals import services as rentals
from rentals.models import Rental
from tests import cast

Drain = Callable[[], int]


class Frps(BaseHTTPRequestHandler):
    """A fake at the border: the one call of frps's dashboard that is made."""

    ports: ClassVar[list[int]] = []
    status = 200

    def do_GET(self) -> None:
        assert self.path == "/api/proxy/tcp"
        assert self.headers["Authorization"].startswith("Basic ")
        live = [{"status": "online", "conf": {"remotePort": port}} for port in self.ports]
        dead = [{"status": "offline", "conf": None}, {"status": "online"}]
        body = json.dumps({"proxies": live + dead}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def frps(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Frps]]:
    monkeypatch.setattr(Frps, "ports", [])
    monkeypatch.setattr(Frps, "status", 200)
    server = HTTPServer(("127.0.0.1", 0), Frps)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(settings.DC, "frps_admin_url", address)
    yield Frps
    server.shutdown()
    server.server_close()


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as moving:
        yield moving


def cancelled_rental() -> Rental:
    """Rent two ports of a pool of twenty, and give the rental up again."""
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    agent, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(alice, offer)
    rentals.end_rental(actor=alice, rental_id=rental.pk)
    return rental


def held() -> set[int]:
    return set(PortLease.objects.exclude(workload=None).values_list("port", flat=True))


@pytest.mark.django_db
def test_a_port_comes_back_only_when_its_quarantine_is_over_and_frps_has_no_proxy_on_it(
    frps: type[Frps], traveller: time_machine.Traveller
) -> None:
    ports = set(cancelled_rental().ports.values())
    assert (held(), len(ports)) == (ports, 2)
    tasks.reconcile_ports()
    assert held() == ports
    traveller.shift(121)
    frps.status = 500
    tasks.reconcile_ports()
    assert held() == ports
    frps.status, frps.ports = 200, [min(ports)]
    tasks.reconcile_ports()
    assert held() == {min(ports)}
    # A port that still had a proxy starts its quarantine again.
    frps.ports = []
    traveller.shift(119)
    tasks.reconcile_ports()
    assert held() == {min(ports)}
    traveller.shift(1)
    with bus.alone("nodes.ports", seconds=30):
        tasks.reconcile_ports()
    assert held() == {min(ports)}
    tasks.reconcile_ports()
    assert held() == set()


@pytest.mark.django_db
def test_ports_stay_away_while_frps_is_away(
    monkeypatch: pytest.MonkeyPatch, traveller: time_machine.Traveller
) -> None:
    ports = set(cancelled_rental().ports.values())
    traveller.shift(3600)
    monkeypatch.setattr(settings.DC, "frps_admin_url", "http://127.0.0.1:1")
    proxies.reconcile()
    assert held() == ports


@pytest.mark.django_db
def test_a_pool_without_enough_ports_refuses_the_rent_and_changes_nothing() -> None:
    cast.proxy_server(count=1)
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    with pytest.raises(Conflict) as refused:
        cast.rented(alice, offer)
    assert refused.value.code == "ports_exhausted"
    assert not Rental.objects.exists()
    assert held() == set()
    assert nodes.reconcile_ports(server_name="local", proxied=set()) == 0


@pytest.mark.django_db
def test_ports_of_an_earlier_range_are_neither_leased_nor_counted() -> None:
    cast.proxy_server(first=20_000, count=20)
    cast.proxy_server(first=25_000, count=2)
    assert nodes.free_ports(up_to=5) == 2
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(alice, offer)
    assert set(rental.ports.values()) == held() <= {25_000, 25_001}
    assert nodes.free_ports(up_to=5) == 2 - len(held())


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 9), (1, 65536)])
def test_a_port_range_that_is_none_is_refused(first: int, last: int, db: None) -> None:
    with pytest.raises(Invalid) as refused:
        cast.proxy_server(first=first, count=last - first + 1)
    assert refused.value.code == "port_range"
    assert not PortLease.objects.exists()


@pytest.mark.django_db
def test_the_clock_suspects_a_silent_machine_then_gives_it_up(
    traveller: time_machine.Traveller,
) -> None:
    cast.machine(cast.person("bob"))
    seen = []
    for seconds in (14, 1, 14, 1, 100):
        traveller.shift(seconds)
        tasks.sweep_liveness()
        seen.append(Node.objects.get().status)
    assert seen == ["online", "suspect", "suspect", "offline", "offline"]


@pytest.mark.django_db
def test_last_words_are_forgotten_after_thirty_days(traveller: time_machine.Traveller) -> None:
    rental = cancelled_rental()
    WorkloadLog.objects.create(workload_id=rental.workload_id, text="bye", at=clock.now())
    traveller.shift(30 * 86_400)
    tasks.forget_logs()
    assert WorkloadLog.objects.count() == 1
    traveller.shift(1)
    tasks.forget_logs()
    assert not WorkloadLog.objects.exists()


class Held:
    """A connection of the hub that writes down what it is told."""

    def __init__(self, position: tuple[int, int]) -> None:
        self.position = position
        self.told = asyncio.Queue[str]()

    async def news(self) -> None:
        self.told.put_nowait("news")

    async def fence(self) -> None:
        self.told.put_nowait("fence")

    async def start_over(self) -> None:
        self.told.put_nowait("start over")

    async def hears(self) -> str:
        return await asyncio.wait_for(self.told.get(), 5)


def joined() -> Node:
    agent, _ = cast.machine(cast.person("bob"))
    return Node.objects.get(pk=agent.node_id)


@pytest.mark.django_db(transaction=True)
async def test_the_poll_tells_each_connection_what_it_missed() -> None:
    hub, node = Hub(), await sync_to_async(joined)()
    node_id = str(node.pk)
    await hub._poll()
    current = Held((node.epoch, node.generation))
    hub.add(node_id, current)
    hub.add(str(new_id()), Held((1, 1)))
    await hub._poll()
    assert current.told.empty()
    await Node.objects.aupdate(generation=node.generation + 1)
    await hub._poll()
    assert await current.hears() == "news"
    await Node.objects.aupdate(status=NodeStatus.OFFLINE.value)
    await hub._poll()
    assert await current.hears() == "start over"
    await Node.objects.aupdate(epoch=node.epoch + 1)
    await hub._poll()
    assert await current.hears() == "fence"
    hub.remove(node_id, Held((0, 0)))
    assert node_id in hub.connections
    hub.remove(node_id, current)
    assert node_id not in hub.connections


@pytest.mark.django_db(transaction=True)
async def test_a_hint_through_redis_reaches_the_connection_and_beats_reach_the_database() -> None:
    hub, node = Hub(), await sync_to_async(joined)()
    node_id = str(node.pk)
    held = Held((node.epoch, node.generation))
    hub.add(node_id, held)
    hub.start()
    hub.start()  # once is enough
    hub.beat(node_id, node.epoch, Metrics())
    loops = list(hub._tasks)
    assert len(loops) == 4
    try:
        # A hint may be lost while the hub still subscribes: they are repeated until one is heard.
        while held.told.empty():
            for subject in (new_id(), node_id):
                event = WorkloadWished(node_id=str(subject))
                await sync_to_async(hint_gateways)(event)
            await asyncio.sleep(0.05)
        assert await held.hears() == "news"
        while hub.beats or (await Node.objects.aget()).last_beat == node.last_beat:
            assert loops[0].done() is False
            await asyncio.sleep(0.05)
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


GARBAGE: list[Any] = [
    {"metas": {"node": "z" * 36, "secret": "x"}},
    {"metas": {"node": 5}},
    {"metas": []},
    {"metas": "text"},
    {"metas": {"node": "a\x00b", "secret": "\ud800"}},
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content", GARBAGE)
async def test_a_login_of_rubbish_is_refused_with_a_reason(content: Any) -> None:
    answer = await gate.decide("Login", content)
    assert answer == {"reject": True, "reject_reason": "tunnel_secret_wrong"}


def leased() -> tuple[Rental, dict[str, Any]]:
    """Return a rental and the NewProxy call that opens its SSH port."""
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(cast.person("alice", usd=50), offer)
    secret = nodes.tunnel_settings(Node.objects.get()).secret
    workload = cast.workload_of(rental)
    return rental, {
        "user": {"metas": {"node": agent.node_id, "secret": secret}, "run_id": "run-1"},
        "proxy_name": f"{agent.node_id}.{workload.pk}-g{workload.generation}-22",
        "proxy_type": "tcp",
        "remote_port": rental.ports["22"],
    }


@pytest.mark.django_db
def test_exactly_the_leased_port_is_opened() -> None:
    rental, call = leased()
    nodes.admit_proxy(content=call)
    assert Node.objects.get().tunnel_run_id == "run-1"
    nodes.admit_proxy(content=call)
    node_id, _, rest = call["proxy_name"].partition(".")
    for change, code in (
        ({"remote_port": rental.ports["8888"]}, "tunnel_not_leased"),
        ({"remote_port": 22}, "tunnel_not_leased"),
        ({"remote_port": "rubbish"}, "tunnel_not_leased"),
        ({"remote_port": 10**30}, "tunnel_not_leased"),
        ({"remote_port": None}, "tunnel_not_leased"),
        ({"proxy_type": "udp"}, "tunnel_kind_refused"),
        ({"group": "g"}, "tunnel_kind_refused"),
        ({"proxy_name": f"{new_id()}.{rest}"}, "tunnel_foreign_node"),
        ({"proxy_name": f"{node_id}.{'-' * 36}-g1-22"}, "tunnel_not_leased"),
        ({"proxy_name": f"{node_id}.{new_id()}-g1-22"}, "tunnel_not_leased"),
        ({"proxy_name": f"{call['proxy_name'][:-4]}{'9' * 5000}-22"}, "tunnel_kind_refused"),
        ({"user": "rubbish"}, "tunnel_secret_wrong"),
        ({"user": {"metas": {**call["user"]["metas"], "secret": "\ud800"}}}, "tunnel_secret_wrong"),
        ({"user": {**call["user"], "run_id": "a\x00\ud800"}}, "tunnel_run_id_unreadable"),
    ):
        with pytest.raises(Forbidden) as refused:
            nodes.admit_proxy(content={**call, **change})
        assert refused.value.code == code, change


@pytest.mark.django_db
def test_a_stopped_rental_opens_nothing_and_a_foreign_run_id_logs_nobody_in() -> None:
    rental, call = leased()
    nodes.admit_proxy(content=call)
    agent, _ = cast.machine(cast.person("carol"), name="hers")
    hers = Node.objects.get(pk=agent.node_id)
    metas = {"node": agent.node_id, "secret": nodes.tunnel_settings(hers).secret}
    with pytest.raises(Forbidden) as refused:
        nodes.admit_login(content={"metas": metas, "run_id": "run-1"})
    assert refused.value.code == "tunnel_run_id_foreign"
    assert nodes.admit_login(content={"metas": metas}) == agent.node_id
    assert nodes.admit_login(content={**call["user"]}) == str(rental.node_id)
    rentals.end_rental(actor=accounts.actor_of(rental.renter), rental_id=rental.pk)
    with pytest.raises(Forbidden) as refused:
        nodes.admit_proxy(content=call)
    assert refused.value.code == "tunnel_not_leased"


@pytest.mark.django_db
def test_cards_of_an_ended_rental_can_be_rented_again() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    agent, offer = cast.machine(cast.person("bob"), gpus=2)
    for _ in range(2):
        rental = cast.rented(alice, offer)
        offer.refresh_from_db()
        assert (offer.gpu_free, offer.listed, offer.hidden_because) == (0, False, "fully_rented")
        with pytest.raises(Conflict) as refused:
            capacity.lock_rentable(offer.node_id)
        assert refused.value.code == "offer_taken"
        rentals.end_rental(actor=alice, rental_id=rental.pk)
        agent.report(agent.connect(), cast.workload_of(rental), WorkloadState.ABSENT)
        offer.refresh_from_db()
        assert (offer.gpu_free, offer.listed) == (2, True)
