"""Who takes part in a hammering, kept in a file that every writer reads; and a clock that runs faster."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from msgspec import structs

from accounts import services as accounts
from accounts.actors import Actor
from accounts.models import User
from core import clock
from hostagent.protocol import Observed, WorkloadReport, WorkloadState
from nodes import gateway
from nodes import services as nodes
from nodes.machine import NodeStatus, Wish
from nodes.models import Node, Workload
from rentals import probing
from tests import cast

RENTERS, HOSTS, MACHINES = 5, 2, 6
# A wallet has to run out now and then while a hammering lasts.
SPEED = 400
START = 1_800_000_000


@dataclass(frozen=True)
class World:
    """The people by id, and what each machine needs to sign in: its node key, its own key, its facts."""

    renters: list[uuid.UUID]
    machines: list[dict[str, Any]]

    @classmethod
    def made(cls) -> World:
        """Make people and machines."""
        cast.proxy_server(count=400)
        cast.template()
        hosts = [cast.person(f"bob{i}") for i in range(HOSTS)]
        renters = [cast.person(f"alice{i}", usd=6) for i in range(RENTERS)]
        for renter in renters:
            accounts.add_ssh_key(actor=renter, name="laptop", public_key=cast.public_ssh_key())
        return cls(
            [renter.user_id for renter in renters],
            [_machine(hosts[i % HOSTS], i) for i in range(MACHINES)],
        )

    def save(self, path: Path) -> None:
        path.write_text(
            json.dumps({"renters": [str(r) for r in self.renters], "machines": self.machines})
        )

    @classmethod
    def load(cls, path: Path) -> World:
        kept = json.loads(path.read_text())
        return cls([uuid.UUID(renter) for renter in kept["renters"]], kept["machines"])


def _machine(host: Actor, number: int) -> dict[str, Any]:
    agent, _ = cast.machine(host, gpus=2 * (number % 2), name=f"atlas-{number}")
    nodes.set_prices(
        actor=host,
        node_id=uuid.UUID(agent.node_id),
        gpu_hourly=Decimal("2.00"),
        cpu_node_hourly=Decimal("3.00"),
        storage_gb_monthly=Decimal("0.10"),
    )
    return {
        "plain": agent.plain_key,
        "private": agent.private.private_bytes_raw().hex(),
        "node": agent.node_id,
        "key": agent.key_id,
        "instance": agent.instance_id,
        "gpus": [gpu.uuid for gpu in agent.facts.gpus],
    }


def actor_of(user_id: uuid.UUID) -> Actor:
    return accounts.actor_of(User.objects.get(pk=user_id))


def hurry() -> None:
    """Let this process see a clock that all processes of the hammering share and that runs faster."""

    def virtual() -> float:
        return START + time.clock_gettime(time.CLOCK_MONOTONIC) * SPEED

    # Everything asks core.clock, and nothing else, what time it is.
    clock.epoch = lambda: int(virtual())
    clock.now = lambda: dt.datetime.fromtimestamp(virtual(), dt.UTC)
    probing.look = lambda *_, **__: probing.Sign.ANSWERS


def sign_in(machine: dict[str, Any]) -> None:
    """Open a new session of a machine, with everything that runs on it in its first words."""
    facts = cast.facts(gpus=len(machine["gpus"]))
    same = zip(facts.gpus, machine["gpus"], strict=True)
    facts = structs.replace(facts, gpus=[structs.replace(gpu, uuid=u) for gpu, u in same])
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(machine["private"]))
    agent = cast.ProtocolAgent(
        machine["plain"],
        facts=facts,
        instance_id=machine["instance"],
        private=private,
        node_id=machine["node"],
        key_id=machine["key"],
    )
    link = agent.dial()
    gateway.handle(link, agent.hello(link, observed=reports(machine["node"])))


def report(machine: dict[str, Any]) -> None:
    """The agent says that what is wished is so."""
    node = Node.objects.get(pk=machine["node"])
    link = gateway.authenticate(f"Bearer {machine['plain']}", "hammer")
    link.node_id, link.epoch = machine["node"], node.epoch
    gateway.handle(link, Observed(epoch=node.epoch, workloads=reports(machine["node"])))


def reports(node_id: str) -> list[WorkloadReport]:
    seen = {
        Wish.RUNNING.value: WorkloadState.RUNNING,
        Wish.STOPPED.value: WorkloadState.STOPPED,
        Wish.ABSENT.value: WorkloadState.ABSENT,
    }
    return [
        WorkloadReport(
            workload_id=str(workload.pk),
            generation=workload.generation,
            # What comes up is first seen starting.
            state=WorkloadState.STARTING
            if workload.wish == Wish.RUNNING.value and workload.observed_state not in _UP
            else seen[workload.wish],
            restarts=workload.spec.get("restarts", 0),
        )
        for workload in Workload.objects.filter(node_id=node_id)
        if not workload.gone
    ]


_UP = frozenset({WorkloadState.STARTING.value, WorkloadState.RUNNING.value})


def beat(world: World) -> None:
    """Every machine that is not lost has been heard all the time up to now."""
    machines = [machine["node"] for machine in world.machines]
    with transaction.atomic():
        heard = [node.pk for node in Node.objects.lock().filter(pk__in=machines)]
        found = Node.objects.filter(pk__in=heard).exclude(status=NodeStatus.OFFLINE.value)
        found.filter(last_beat__lt=clock.now()).update(last_beat=clock.now())
    epochs = found.values_list("pk", "epoch")
    at = clock.now().timestamp()
    nodes.record_beats(beats={(str(node_id), epoch): at for node_id, epoch in epochs})
