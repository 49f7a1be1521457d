"""Who holds which part of a node. The node's row lock orders takers; partial unique indexes guarantee."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from core import clock
from core.errors import Conflict
from nodes.machine import RENTABLE, NodeStatus
from nodes.models import Allocation, Gpu, GpuAllocation, Node, Workload
from nodes.services.listing import disk_left, failed_checks, is_full, refresh_offer


def lock_rentable(node_id: uuid.UUID) -> Node:
    """Lock a node that can take work now; raises Conflict `offer_taken` with the reason."""
    node = Node.objects.lock().filter(pk=node_id).first()
    if (
        node is None
        or NodeStatus(node.status) not in RENTABLE
        or failed_checks(node)
        or is_full(node)
    ):
        raise Conflict(
            "offer_taken",
            "This machine was taken or went away a moment ago. Nothing was charged; pick another offer.",
        )
    return node


def share_of(node: Node, gpu_count: int) -> tuple[int, int]:
    """Return (cores, MiB) that come with `gpu_count` cards: proportional; a CPU node is rented whole."""
    total = Gpu.objects.filter(node=node, present=True).count()
    if not total:
        return node.cpu_cores, node.memory_mib
    return max(1, node.cpu_cores * gpu_count // total), max(
        512, node.memory_mib * gpu_count // total
    )


def allocate(
    *,
    node: Node,
    workload: Workload,
    gpu_count: int,
    disk_gb: int,
    cards: Sequence[str] | None = None,
) -> Allocation:
    """Hold `gpu_count` free cards (none: the whole CPU node) and disk for a workload.

    `cards` are the UUIDs of the only ones that will do, for a container that was made for them.

    The caller holds the node's lock. Raises Conflict `offer_taken`, `disk_too_small`.
    """
    found = Gpu.objects.filter(node=node, present=True)
    whole = gpu_count == 0
    # A machine that has grown cards, or lost them, since the price was asked is another offer.
    changed = found.exists() is whole
    if cards is not None:
        found = found.filter(uuid__in=cards)
    found = found.exclude(allocations__released_at=None, allocations__isnull=False)
    free = list(found.order_by("index")[:gpu_count])
    if len(free) < gpu_count or changed or is_full(node):
        raise Conflict("offer_taken", "These GPUs were taken a moment ago. Nothing was charged.")
    _require_disk(node, workload, disk_gb)
    cores, memory = share_of(node, gpu_count)
    allocation = Allocation.objects.create(
        node=node,
        workload=workload,
        whole_node=whole,
        cpu_cores=cores,
        memory_mib=memory,
        disk_gb=disk_gb,
        opened_at=clock.now(),
    )
    GpuAllocation.objects.bulk_create(GpuAllocation(gpu=gpu, allocation=allocation) for gpu in free)
    refresh_offer(node)
    return allocation


def _require_disk(node: Node, workload: Workload, disk_gb: int) -> None:
    """Refuse disk that is not free or that others were promised; a disk that is kept is there already."""
    if Allocation.objects.filter(workload=workload).exists():
        return
    free = disk_left(node, besides=workload)
    if disk_gb > free:
        raise Conflict("disk_too_small", f"This machine has {free} GB free.")


def release_allocation(*, node: Node, workload: Workload) -> None:
    """Give back what a workload held; harmless when it holds nothing. The caller locks the node."""
    now = clock.now()
    GpuAllocation.objects.filter(allocation__workload=workload, released_at=None).update(
        released_at=now
    )
    if Allocation.objects.filter(workload=workload, released_at=None).update(released_at=now):
        refresh_offer(node)
