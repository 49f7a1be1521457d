"""What of a node can be rented now, and at what price."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.db.models import Max

from accounts.actors import Actor
from audit import services as audit
from core import clock, outbox
from core.errors import Forbidden, NotFound
from nodes.events import ListingChanged, NodeChanged, NodeDrained, WorkloadWished
from nodes.hardware import card_columns, host_columns
from nodes.machine import RENTABLE, STANDING, UNRENTABLE, Hidden, NodeStatus, Wish, WorkloadState
from nodes.models import Allocation, Gpu, Node, Offer, Workload


def refresh_offer(node: Node) -> Offer:
    """Make the node's offer and its status say what is true now. The node's row is locked by the caller."""
    settle_status(node)
    gpus = list(Gpu.objects.filter(node=node, present=True).order_by("index"))
    taken = Gpu.objects.filter(node=node, allocations__released_at=None, allocations__isnull=False)
    free = len(gpus) - len({gpu.pk for gpu in taken} & {gpu.pk for gpu in gpus})
    disk = disk_left(node)
    hidden = _why_hidden(node, disk)
    was = Offer.objects.filter(node=node).values_list("hidden_because", flat=True).first()
    offer, _ = Offer.objects.update_or_create(
        node=node,
        defaults={
            "listed": not hidden,
            "hidden_because": hidden,
            "gpu_total": len(gpus),
            "gpu_free": free,
            "disk_gb": disk,
            "compute_rate": node.gpu_rate if gpus else node.cpu_node_rate,
            "storage_gb_rate": node.storage_gb_rate,
            "minimum_rate": node.minimum_rate,
            "reliability_bp": node.reliability_bp,
            "ready_seconds": node.ready_seconds,
            "simulated": node.simulated,
            "updated_at": clock.now(),
            **host_columns(node),
            **card_columns([gpu.details for gpu in gpus]),
        },
    )
    outbox.publish(NodeChanged(node_id=str(node.pk)))
    if was is not None and was != hidden:
        at = clock.now().timestamp()
        outbox.publish(ListingChanged(node_id=str(node.pk), was=was, now=hidden, at=at))
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


def note_start(node: Node, seconds: float) -> None:
    """Let the newest start count for a quarter of how long a locked node's starts take."""
    new = max(1, round(seconds))
    old = node.ready_seconds
    node.ready_seconds = new if old is None else (3 * old + new + 2) // 4
    node.save(update_fields=["ready_seconds"])
    refresh_offer(node)


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


def disk_left(node: Node, besides: Workload | None = None) -> int:
    """Return the GB nobody was promised, not counting what one workload holds: no more than was free at the hello."""
    others = Workload.objects.filter(node=node)
    if besides is not None:
        others = others.exclude(pk=besides.pk)
    kept = others.exclude(wish=Wish.ABSENT.value, observed_state=WorkloadState.ABSENT.value)
    held = Allocation.objects.filter(workload__in=kept).values("workload")
    promised: int = sum(row["most"] for row in held.annotate(most=Max("disk_gb")))
    return max(0, min(node.disk_gb, int(node.facts.get("disk_gb", node.disk_gb)) - promised))


def _why_hidden(node: Node, disk_gb: int) -> str:
    if NodeStatus(node.status) not in RENTABLE:
        return UNRENTABLE[NodeStatus(node.status)].value
    if failed_checks(node):
        return Hidden.CHECK_FAILED.value
    return "" if disk_gb else Hidden.NO_DISK.value


@transaction.atomic
def drain_node(*, actor: Actor, node_id: uuid.UUID, draining: bool) -> Node:
    """Let a node finish what runs and accept nothing new, or take that back; staff may, too."""
    actor.require("node:manage")
    node = _managed_node(actor, node_id)
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
        at = clock.now().timestamp()
        outbox.publish(NodeDrained(node_id=str(node.pk), draining=draining, at=at))
    return node


def own_node(actor: Actor, node_id: uuid.UUID) -> Node:
    """Return a machine of this actor's own, locked; raises NotFound `node_unknown`, Forbidden `host_only`."""
    node = _managed_node(actor, node_id)
    if node.owner_id != actor.user_id:
        raise Forbidden(
            "host_only",
            "What a machine costs is its host's to say. Staff can drain a machine that must take nothing new.",
        )
    return node


def _managed_node(actor: Actor, node_id: uuid.UUID) -> Node:
    node = Node.objects.visible_to(actor).lock().filter(pk=node_id).first()
    if node is None:
        raise NotFound("node_unknown", "You have no such machine.")
    return node
