"""What of a node can be rented now, and at what price."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, money, outbox
from core.errors import Invalid, NotFound
from nodes.events import NodeChanged, WorkloadWished
from nodes.machine import RENTABLE, STANDING, NodeStatus
from nodes.models import Allocation, Gpu, Node, Offer

MAX_HOURLY = Decimal(1000)


def refresh_offer(node: Node) -> Offer:
    """Make the node's offer and its status say what is true now. The node's row is locked by the caller."""
    settle_status(node)
    gpus = list(Gpu.objects.filter(node=node, present=True))
    taken = Gpu.objects.filter(node=node, allocations__released_at=None, allocations__isnull=False)
    free = len(gpus) - len({gpu.pk for gpu in taken} & {gpu.pk for gpu in gpus})
    hidden = _why_hidden(node)
    offer, _ = Offer.objects.update_or_create(
        node=node,
        defaults={
            "listed": not hidden,
            "hidden_because": hidden,
            "tier": node.tier,
            "gpu_model": gpus[0].model if gpus else "",
            "gpu_total": len(gpus),
            "gpu_free": free,
            "vram_mib": min((gpu.vram_mib for gpu in gpus), default=0),
            "cpu_cores": node.cpu_cores,
            "memory_mib": node.memory_mib,
            "disk_gb": node.disk_gb,
            "compute_rate": node.gpu_rate if gpus else node.cpu_node_rate,
            "storage_gb_rate": node.storage_gb_rate,
            "region": node.region,
            "country": node.country,
            "isolation": str(node.facts.get("isolation", "runc")),
            "disk_quota": bool(node.facts.get("disk_quota", False)),
            "simulated": node.simulated,
            "updated_at": clock.now(),
        },
    )
    outbox.publish(NodeChanged(node_id=str(node.pk)))
    return offer


def settle_status(node: Node) -> None:
    """Move a living node to draining, busy or online, whichever is true of it now."""
    frm = NodeStatus(node.status)
    if frm not in STANDING:
        return
    if node.draining:
        to = NodeStatus.DRAINING
    elif is_full(node):
        to = NodeStatus.BUSY
    else:
        to = NodeStatus.ONLINE
    move_node(node, to)


def move_node(node: Node, to: NodeStatus) -> None:
    """Move a locked node to another status, if it is not there already."""
    frm = NodeStatus(node.status)
    if frm is not to and Node.objects.move(node.pk, frm, to):
        node.status = to.value


def failed_checks(node: Node) -> list[str]:
    """Return the names of the checks that a node must pass and did not at its last hello."""
    return [
        str(check["check"])
        for check in node.checks
        if not check["passed"] and check["severity"] == "refuse"
    ]


def is_full(node: Node) -> bool:
    """Whether nothing more can be started on the node; one that is rented whole has no cards to give."""
    held = Allocation.objects.filter(node=node, released_at=None)
    if node.tier == "CPU" or held.filter(whole_node=True).exists():
        return held.exists()
    return (
        not Gpu.objects.filter(node=node, present=True)
        .exclude(allocations__released_at=None, allocations__isnull=False)
        .exists()
    )


def _why_hidden(node: Node) -> str:
    if NodeStatus(node.status) in RENTABLE:
        failed = failed_checks(node)
        return f"self-test failed: {', '.join(failed)}"[:100] if failed else ""
    return {
        NodeStatus.BUSY: "fully rented",
        NodeStatus.DRAINING: "draining",
        NodeStatus.MAINTENANCE: "in maintenance",
        NodeStatus.SUSPECT: "not heard from for a few beats",
        NodeStatus.OFFLINE: "offline",
    }[NodeStatus(node.status)]


@transaction.atomic
def set_prices(
    *,
    actor: Actor,
    node_id: uuid.UUID,
    gpu_hourly: Decimal,
    cpu_node_hourly: Decimal,
    storage_gb_monthly: Decimal,
) -> Node:
    """Publish a node's prices (currency units per GPU-hour, node-hour, GB-month) from now on.

    Running rentals keep theirs. Raises NotFound, Invalid `price_range`.
    """
    actor.require("node:manage")
    node = _own_node(actor, node_id)
    for price in (gpu_hourly, cpu_node_hourly, storage_gb_monthly):
        if not (price.is_finite() and 0 <= price <= MAX_HOURLY):
            raise Invalid("price_range", f"A price lies between 0 and {MAX_HOURLY}.")
    node.gpu_rate = money.rate_from_hourly(gpu_hourly)
    node.cpu_node_rate = money.rate_from_hourly(cpu_node_hourly)
    node.storage_gb_rate = money.rate_from_monthly(storage_gb_monthly)
    node.save(update_fields=["gpu_rate", "cpu_node_rate", "storage_gb_rate"])
    refresh_offer(node)
    audit.record(
        actor=actor,
        verb="node.prices_set",
        subject_type="node",
        subject_id=node.pk,
        data={
            "gpu_rate": node.gpu_rate,
            "cpu_node_rate": node.cpu_node_rate,
            "storage_gb_rate": node.storage_gb_rate,
        },
    )
    return node


@transaction.atomic
def drain_node(*, actor: Actor, node_id: uuid.UUID, draining: bool) -> Node:
    """Let a node finish what runs and accept nothing new, or take that back."""
    actor.require("node:manage")
    node = _own_node(actor, node_id)
    if node.draining != draining:
        node.draining = draining
        node.generation += 1
        node.save(update_fields=["draining", "generation"])
        refresh_offer(node)
        audit.record(
            actor=actor,
            verb="node.draining" if draining else "node.undrained",
            subject_type="node",
            subject_id=node.pk,
            data={},
        )
        outbox.publish(WorkloadWished(node_id=str(node.pk)))
    return node


def _own_node(actor: Actor, node_id: uuid.UUID) -> Node:
    node = Node.objects.visible_to(actor).lock().filter(pk=node_id).first()
    if node is None:
        raise NotFound("node_unknown", "You have no such machine.")
    return node
