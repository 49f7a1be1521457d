"""What must be true whatever was killed when. Every system, browser and crash test ends with this.

`broken(...)` returns sentences, none when all is well; it looks at the database, at the engine and at
the proxy server, and compares them with each other.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import docker
from django.db.models import Count

from audit import services as audit
from billing import services as billing
from core.models import OutboxMessage
from nodes import proxies
from nodes.machine import Wish
from nodes.models import Allocation, GpuAllocation, PortLease, Workload
from rentals import probing
from rentals.machine import State
from rentals.models import Rental


def broken(*, engine: docker.DockerClient | None = None, tunnels: bool = False) -> list[str]:
    """Return everything that is wrong.

    Args:
        engine: the Docker Engine that the agents under test use; None where there is none.
        tunnels: whether an frps runs whose open ports should be compared with the leases.
    """
    return [
        *billing.verify_ledger(),
        *audit.verify(),
        *_rentals(),
        *_machines(),
        *_bills(),
        *(_containers(engine) if engine is not None else []),
        *(_tunnels() if tunnels else []),
    ]


def quiet() -> bool:
    """Whether nothing is on its way: no event waits, no rental is between two states of rest."""
    moving = {State.REQUESTED, State.RESERVED, State.PULLING, State.STARTING, State.STOPPING}
    return not (
        OutboxMessage.objects.exists()
        or Rental.objects.filter(state__in=[state.value for state in moving]).exists()
    )


def _rentals() -> list[str]:
    wrong = []
    for rental in Rental.objects.all():
        billed = rental.compute_meter_id is not None
        should = rental.state == State.RUNNING and rental.unreachable_since is None
        if billed != should:
            wrong.append(f"{rental} is {rental.state} and billed={billed}")
        if rental.state == State.ENDED:
            workload = Workload.objects.get(pk=rental.workload_id)
            if workload.wish != Wish.ABSENT:
                wrong.append(f"{rental} has ended, its workload is wished {workload.wish}")
    return wrong


def _machines() -> list[str]:
    twice = (
        GpuAllocation.objects.filter(released_at=None)
        .values("gpu")
        .annotate(times=Count("id"))
        .filter(times__gt=1)
    )
    wrong = [f"GPU {row['gpu']} is allocated {row['times']} times" for row in twice]
    for allocation in Allocation.objects.filter(released_at=None).select_related("workload"):
        if allocation.workload.gone:
            wrong.append(f"{allocation} is open, its workload is gone")
    ports = Counter(
        PortLease.objects.filter(workload__isnull=False).values_list("server_id", "port")
    )
    wrong += [f"port {port} is leased {times} times" for port, times in ports.items() if times > 1]
    for lease in PortLease.objects.filter(workload__isnull=False, released_at=None):
        assert lease.workload is not None
        if lease.workload.wish == Wish.ABSENT:
            wrong.append(f"port {lease.port} is still leased to {lease.workload}, wished absent")
    return wrong


def _bills() -> list[str]:
    wrong = []
    for rental in Rental.objects.all():
        bill = billing.bill_of(subject_id=rental.pk)
        for line in bill.lines:
            if line.amount != line.rate * line.seconds:
                wrong.append(f"{rental}: {line.kind} {line.rate} x {line.seconds} != {line.amount}")
        if rental.running_since is None and bill.total:
            wrong.append(f"{rental} never ran and costs {bill.total}")
        if sum(line.amount for line in bill.lines) != bill.total:
            wrong.append(f"{rental}: lines do not add up to {bill.total}")
    return wrong


def _containers(engine: docker.DockerClient) -> list[str]:
    wrong = []
    workloads = {str(w.pk): w for w in Workload.objects.all()}
    containers: list[Any] = engine.containers.list(all=True, filters={"label": "dc.workload"})
    for container in containers:
        workload = workloads.get(container.labels["dc.workload"])
        if workload is None:
            continue  # another deployment's container on the same engine
        if workload.wish == Wish.ABSENT:
            wrong.append(f"container {container.name} exists, {workload} is wished absent")
        if workload.wish == Wish.STOPPED and container.status == "running":
            wrong.append(f"container {container.name} runs, {workload} is wished stopped")
    names = Counter(container.labels["dc.workload"] for container in containers)
    wrong += [f"workload {name} has {n} containers" for name, n in names.items() if n > 1]
    networks = engine.networks.list(filters={"label": "dc.workload"})
    for network in networks:
        label = (network.attrs or {}).get("Labels", {}).get("dc.workload", "")
        workload = workloads.get(label)
        if workload is not None and workload.gone:
            wrong.append(f"network {network.name} exists, {workload} is gone")
    return wrong


def _tunnels() -> list[str]:
    leased = set(
        PortLease.objects.filter(workload__isnull=False, released_at=None).values_list(
            "port", flat=True
        )
    )
    return [f"port {port} is open at frps and not leased" for port in proxies.open_ports() - leased]


def rental_is_unreachable(rental_id: uuid.UUID) -> bool:
    """Whether nothing of the rental answers any more at its public address."""

    rental = Rental.objects.get(pk=rental_id)
    return not any(
        probing.ssh_answers(rental.ssh_host, port, timeout=1) for port in rental.ports.values()
    )
