"""Agent sessions: proof, fencing, clones, silence."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import msgspec
import pytest
import time_machine
from django.conf import settings
from django.db import transaction

from accounts import services as accounts
from accounts.actors import Actor
from core import clock
from core.errors import Conflict, Forbidden, Unauthenticated
from core.ids import new_id
from hostagent.protocol import (
    Ack,
    Desired,
    DrainNode,
    Heartbeat,
    Metrics,
    Observed,
    StartInstance,
    StopInstance,
    Welcome,
    WorkloadState,
    encode,
)
from nodes import gateway, services
from nodes.liveness import judge
from nodes.machine import NODE, NodeStatus, Wish
from nodes.models import AgentSession, Allocation, Node, Offer, PortLease
from rentals import services as rentals
from rentals.models import Rental
from tests import cast

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


def test_a_machine_is_listed_once_its_session_is_open() -> None:
    agent, offer = cast.machine(cast.person("bob"))
    node = Node.objects.get(pk=agent.node_id)
    assert (node.status, node.epoch, offer.listed) == ("online", 1, True)


def test_a_machine_stays_in_when_the_platform_moves_and_keeps_the_name_that_was_signed_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, _ = cast.machine(cast.person("bob"))
    joined = settings.DC.deployment
    monkeypatch.setattr(settings.DC, "public_url", "http://127.0.0.1:18080")
    link = agent.dial()
    assert link.challenge().deployment == joined
    [welcome] = gateway.handle(link, agent.hello(link))
    assert isinstance(welcome, Welcome)
    assert Node.objects.get().epoch == 2


def test_a_signature_for_another_deployment_opens_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, _ = cast.machine(cast.person("bob"))
    link = agent.dial()
    hello = agent.hello(link)
    monkeypatch.setattr(settings.DC, "deployment", "https://elsewhere.example")
    with pytest.raises(Unauthenticated) as refused:
        gateway.handle(link, hello)
    assert refused.value.code == "signature_wrong"
    assert Node.objects.get().epoch == 1


def test_a_forged_signature_opens_no_session() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    link = agent.dial()
    hello = agent.hello(link)
    hello.signature = agent.private.sign(b"another nonce").hex()
    with pytest.raises(Unauthenticated) as refused:
        gateway.handle(link, hello)
    assert refused.value.code == "signature_wrong"
    assert Node.objects.get().epoch == 1


def test_a_challenge_is_good_once_and_for_a_short_time() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    link = agent.connect()
    with pytest.raises(Unauthenticated) as refused:
        gateway.handle(link, agent.hello(link))
    assert refused.value.code == "challenge_expired"
    late = agent.dial()
    late.opened = time.monotonic() - 31
    with pytest.raises(Unauthenticated) as refused:
        gateway.handle(late, agent.hello(late))
    assert refused.value.code == "challenge_expired"


def test_bobs_key_does_not_open_a_session_of_another_node() -> None:
    bob = cast.person("bob")
    (mine, _), (other, _) = cast.machine(bob), cast.machine(bob, name="atlas-04")
    link = mine.dial()
    hello = mine.hello(link)
    hello.node_id = other.node_id
    with pytest.raises(Forbidden) as refused:
        gateway.handle(link, hello)
    assert refused.value.code == "node_foreign"


def test_a_wrong_or_missing_key_gets_no_challenge() -> None:
    for header, code in (
        ("", "node_key_missing"),
        ("Bearer dcn_0000000000_x", "node_key_wrong"),
        ("Basic abc", "node_key_missing"),
    ):
        with pytest.raises(Unauthenticated) as refused:
            gateway.authenticate(header, "test")
        assert refused.value.code == code
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="new")
    with pytest.raises(Unauthenticated) as refused:
        gateway.authenticate(f"Bearer {plain}", "test")
    assert refused.value.code == "node_not_joined"


def test_a_newer_session_fences_the_older_one() -> None:
    agent, offer = cast.machine(cast.person("bob"))
    old, new = agent.connect(), agent.connect()
    assert new.epoch == old.epoch + 1
    beat = Heartbeat(
        node_id=agent.node_id, epoch=old.epoch, generation=0, status="online", metrics=Metrics()
    )
    assert not gateway.is_behind(old, beat)
    with pytest.raises(gateway.Fenced):
        gateway.handle(old, Observed(epoch=old.epoch, workloads=[]))
    with pytest.raises(gateway.Fenced):
        gateway.tell_news(old)
    assert gateway.is_current(old, beat)
    assert not gateway.is_current(new, beat)
    assert gateway.handle(new, Observed(epoch=old.epoch, workloads=[])) == []
    assert AgentSession.objects.filter(closed_at=None).count() == 1


def test_two_machines_with_one_identity_are_both_put_aside() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    agent.connect()
    agent.instance_id = "a copied disk"
    link = agent.dial()
    with pytest.raises(Conflict) as refused:
        gateway.handle(link, agent.hello(link))
    assert refused.value.code == "node_cloned"
    node = Node.objects.get()
    assert node.status == "maintenance"
    assert not Offer.objects.get().listed
    assert not AgentSession.objects.filter(closed_at=None).exists()


def test_silence_becomes_suspicion_then_loss_and_a_beat_heals_it() -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        agent, _ = cast.machine(cast.person("bob"))
        link = agent.connect()
        traveller.shift(16)
        assert services.sweep_liveness() == 1
        assert Node.objects.get().status == "suspect"
        assert Offer.objects.get().hidden_because == "beats_missed"
        services.record_beats(beats={(agent.node_id, link.epoch): clock.now().timestamp()})
        assert Node.objects.get().status == "online"
        services.record_beats(beats={(agent.node_id, link.epoch - 1): clock.now().timestamp() + 5})
        assert Node.objects.get().last_beat == clock.now()
        traveller.shift(31)
        assert services.sweep_liveness() == 1
        assert Node.objects.get().status == "offline"
        assert services.sweep_liveness() == 0
        agent.connect()
        assert Node.objects.get().status == "online"


def rented_machine() -> tuple[Rental, cast.ProtocolAgent]:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    return cast.rented(cast.person("alice", usd=50), offer), agent


def test_a_wish_reaches_the_agent_as_a_command_and_as_the_whole_set() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    link = agent.connect()
    alice = cast.person("alice", usd=50)
    rental = cast.rented(alice, offer)
    [start] = gateway.tell_news(link)
    assert isinstance(start, StartInstance)
    assert start.rental_id == str(rental.pk)
    assert start.spec.proxy_port_mapping == {k: v for k, v in rental.ports.items()}
    assert start.spec.resource_limits.ram_limit == "16384m"
    assert gateway.tell_news(link) == []
    gateway.handle(link, Ack(id=start.id, epoch=link.epoch, generation=start.generation))
    assert cast.workload_of(rental).acked_generation == start.generation
    rentals.end_rental(actor=alice, rental_id=rental.pk)
    [stop] = gateway.tell_news(link)
    assert isinstance(stop, StopInstance)
    assert stop.remove
    [whole] = gateway.tell_all(link)
    assert isinstance(whole, Desired)
    assert [w.state for w in whole.workloads] == ["absent"]


def test_draining_is_told_and_hides_the_offer() -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    link = agent.connect()
    services.drain_node(actor=bob, node_id=offer.node_id, draining=True)
    [command] = gateway.tell_news(link)
    assert isinstance(command, DrainNode)
    assert command.draining
    offer.refresh_from_db()
    assert (offer.listed, offer.hidden_because) == (False, "draining")


def test_a_machine_is_free_again_only_when_the_agent_says_that_nothing_is_left(
    drain: Drain,
) -> None:
    rental, agent = rented_machine()
    alice = accounts.actor_of(rental.renter)
    rentals.end_rental(actor=alice, rental_id=rental.pk)
    drain()
    assert Allocation.objects.filter(released_at=None).count() == 1
    link = agent.connect()
    agent.report(link, cast.workload_of(rental), WorkloadState.ABSENT)
    assert not Allocation.objects.filter(released_at=None).exists()
    assert Offer.objects.get().listed


def test_reports_about_somebody_elses_workload_change_nothing() -> None:
    rental, _ = rented_machine()
    mallory, _ = cast.machine(cast.person("mallory"), name="evil")
    link = mallory.connect()
    workload = cast.workload_of(rental)
    mallory.report(link, workload, WorkloadState.RUNNING)
    workload.refresh_from_db()
    assert workload.observed_state == ""


def test_only_another_state_restart_or_incarnation_moves_since_when_a_workload_is_as_it_is() -> (
    None
):
    rental, agent = rented_machine()
    link = agent.connect()
    up, workload = WorkloadState.RUNNING, cast.workload_of(rental)
    told: list[tuple[WorkloadState, dict[str, object], int]] = [
        (WorkloadState.STARTING, {}, 0),
        (up, {}, 10),
        (up, {"sent_bytes": 64_000_000}, 10),
        (up, {"sent_bytes": 64_000_000, "idle": True}, 10),
        (up, {"sent_bytes": 64_000_000, "restarts": 1}, 40),
        (WorkloadState.FAILED, {"code": "container_exited", "message": "Exit 1."}, 50),
        (WorkloadState.FAILED, {"code": "container_exited", "message": "Exit 1. OOM"}, 50),
    ]
    began = clock.now()
    with time_machine.travel(began, tick=False) as traveller:
        for passed, (state, more, since) in enumerate(told):
            traveller.move_to(began + dt.timedelta(seconds=10 * passed))
            agent.report(link, workload, state, **more)
            workload.refresh_from_db()
            assert workload.state_since == began + dt.timedelta(seconds=since), told[passed]
            assert workload.observed_at == clock.now()
        services.renew_workload(actor=Actor.system(), workload_id=workload.pk)
        workload.refresh_from_db()
        traveller.shift(10)
        agent.report(link, workload, WorkloadState.FAILED)
        workload.refresh_from_db()
        assert workload.state_since == clock.now()


def test_ports_come_back_after_quarantine_and_only_when_frps_shows_none(drain: Drain) -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        rental, agent = rented_machine()
        ports = set(rental.ports.values())
        rentals.end_rental(actor=accounts.actor_of(rental.renter), rental_id=rental.pk)
        traveller.shift(dt.timedelta(seconds=60))
        assert services.reconcile_ports(server_name="local", proxied=set()) == 0
        traveller.shift(dt.timedelta(seconds=61))
        assert services.reconcile_ports(server_name="local", proxied=ports) == 0
        traveller.shift(dt.timedelta(seconds=121))
        assert services.reconcile_ports(server_name="local", proxied=set()) == len(ports)
    assert not PortLease.objects.filter(workload__isnull=False).exists()


def test_the_gate_opens_exactly_what_is_leased() -> None:
    rental, agent = rented_machine()
    workload = cast.workload_of(rental)
    node = Node.objects.get(pk=agent.node_id)
    metas = {"node": agent.node_id, "secret": services.tunnel_settings(node).secret}
    user = {"metas": metas, "run_id": "r1"}
    right = {
        "user": user,
        "proxy_name": f"{agent.node_id}.{workload.pk}-g1-22",
        "proxy_type": "tcp",
        "remote_port": rental.ports["22"],
    }
    services.admit_login(content={"metas": metas})
    services.admit_proxy(content=right)
    wrong = [
        ({**right, "remote_port": rental.ports["22"] + 1}, "tunnel_not_leased"),
        ({**right, "remote_port": 0}, "tunnel_not_leased"),
        ({**right, "proxy_type": "http"}, "tunnel_kind_refused"),
        ({**right, "group": "x"}, "tunnel_kind_refused"),
        ({**right, "proxy_name": ""}, "tunnel_kind_refused"),
        ({**right, "proxy_name": f"{new_id()}.{workload.pk}-g1-22"}, "tunnel_foreign_node"),
        ({**right, "proxy_name": f"{agent.node_id}.{workload.pk}-g2-22"}, "tunnel_not_leased"),
        ({**right, "user": {"metas": {**metas, "secret": "0" * 64}}}, "tunnel_secret_wrong"),
    ]
    for content, code in wrong:
        with pytest.raises(Forbidden) as refused:
            services.admit_proxy(content=content)
        assert refused.value.code == code
    other, _ = cast.machine(cast.person("mallory"), name="evil")
    theirs = services.tunnel_settings(Node.objects.get(pk=other.node_id))
    stolen = {"metas": {"node": other.node_id, "secret": theirs.secret}, "run_id": "r1"}
    with pytest.raises(Forbidden) as refused:
        services.admit_login(content=stolen)
    assert refused.value.code == "tunnel_run_id_foreign"


def test_only_a_hello_brings_a_lost_machine_back_and_maintenance_is_no_suspect() -> None:
    assert NODE.sources(NodeStatus.BUSY).isdisjoint({NodeStatus.OFFLINE, NodeStatus.SUSPECT})
    assert NODE.edges[NodeStatus.OFFLINE] == {NodeStatus.ONLINE, NodeStatus.MAINTENANCE}
    silent = {"suspect": 15, "offline": 30}
    assert judge(NodeStatus.MAINTENANCE, 20, **silent) is NodeStatus.MAINTENANCE
    assert judge(NodeStatus.MAINTENANCE, 30, **silent) is NodeStatus.OFFLINE
    assert judge(NodeStatus.BUSY, 15, **silent) is NodeStatus.SUSPECT
    assert judge(NodeStatus.OFFLINE, 0, **silent) is NodeStatus.OFFLINE


def test_what_is_stopped_goes_to_the_agent_without_what_it_was_started_from() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    node = Node.objects.get()
    fat = "\x01"  # six bytes in JSON
    spec = {
        "image": "ghcr.io/m/x:1",
        "hostname": "r",
        "command": [fat * 16_384],
        "entrypoint": ["sh", fat * 16_384],
        "start_script": fat * 16_384,
        "ssh_keys": ["ssh-ed25519 AAAA"],
        "ssh_port": 22,
        "resource_limits": dict(cpu_cores=1, memory_mib=1, ram_limit="1m", disk_gb=1, shm_mib=1, pids=1),
        "proxy_port_mapping": {"22": 20_000},
    }  # fmt: skip
    system = Actor.system()
    with transaction.atomic():
        ids = [
            services.create_workload(
                actor=system, node=node, subject_id=new_id(), spec=spec, env={"A": fat * 32_768}
            ).pk
            for _ in range(201)
        ]
        for pk in ids[1:]:
            services.wish_workload(actor=system, workload_id=pk, wish=Wish.STOPPED, reason="t")
    link = agent.dial()
    [welcome] = gateway.handle(link, agent.hello(link))
    assert isinstance(welcome, Welcome)
    wished = welcome.desired.workloads
    assert [one.workload_id for one in wished] == [str(pk) for pk in ids]
    assert wished[0].spec is not None
    assert wished[0].spec.env_vars == {"A": fat * 32_768}
    assert {(one.state, one.spec) for one in wished[1:]} == {("stopped", None)}
    size = len(encode(welcome))
    assert size < 4 * 1024 * 1024
    assert size - len(msgspec.json.encode(wished[0].spec)) < 100_000
