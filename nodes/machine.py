"""The states of machines and of what runs on them, and the legal moves between them. Pure."""

from __future__ import annotations

from enum import StrEnum

from core.machine import Table

# Apps above speak of what runs on a machine in the agent's own words, and get them here.
from hostagent.protocol import WorkloadState as WorkloadState


class NodeStatus(StrEnum):
    ONLINE = "online"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    DRAINING = "draining"
    SUSPECT = "suspect"
    OFFLINE = "offline"


# Heard from, and neither put aside nor doubted.
STANDING = frozenset({NodeStatus.ONLINE, NodeStatus.BUSY, NodeStatus.DRAINING})
# A silent machine, or one put aside, first comes back online; what it is then follows from what it runs.
NODE = Table[NodeStatus](
    "Node",
    {
        **{
            status: (STANDING - {status})
            | {NodeStatus.MAINTENANCE, NodeStatus.SUSPECT, NodeStatus.OFFLINE}
            for status in (NodeStatus.ONLINE, NodeStatus.BUSY, NodeStatus.DRAINING)
        },
        NodeStatus.MAINTENANCE: {NodeStatus.ONLINE, NodeStatus.OFFLINE},
        NodeStatus.SUSPECT: {NodeStatus.ONLINE, NodeStatus.MAINTENANCE, NodeStatus.OFFLINE},
        NodeStatus.OFFLINE: {NodeStatus.ONLINE, NodeStatus.MAINTENANCE},
    },
)
# Where a machine may be found by search and take new work.
RENTABLE = frozenset({NodeStatus.ONLINE})


class Wish(StrEnum):
    """What should be true of a workload."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


WISH = Table[Wish](
    "Workload (wished)",
    {
        Wish.RUNNING: {Wish.STOPPED, Wish.ABSENT},
        Wish.STOPPED: {Wish.RUNNING, Wish.ABSENT},
        Wish.ABSENT: set(),
    },
)
