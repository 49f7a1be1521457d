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


class Hidden(StrEnum):
    """Why the search does not show a machine. The codes are stable; `HIDDEN` says them to its host."""

    TAKEN = "fully_rented"
    DRAINING = "draining"
    MAINTENANCE = "in_maintenance"
    SUSPECT = "beats_missed"
    OFFLINE = "offline"
    CHECK_FAILED = "check_failed"
    NO_DISK = "no_disk_left"


HIDDEN = {
    Hidden.TAKEN: "Everything on it is rented. It is listed again when a rental ends.",
    Hidden.DRAINING: "It is draining: what runs goes on and nothing new starts. Take new rentals again to list it.",
    Hidden.MAINTENANCE: "It was put aside. If two machines used its key, give each a node key of its own.",
    Hidden.SUSPECT: "It has missed a few heartbeats. It is listed again with the next one.",
    Hidden.OFFLINE: "It is not connected. Start the agent with `hostagent run` and see what it prints.",
    Hidden.CHECK_FAILED: "It failed a check of its self-test. Mend it; the agent tests again when it connects.",
    Hidden.NO_DISK: "No disk is left for a new rental. Free some; the agent measures it when it connects.",
}
UNRENTABLE = {
    NodeStatus.BUSY: Hidden.TAKEN,
    NodeStatus.DRAINING: Hidden.DRAINING,
    NodeStatus.MAINTENANCE: Hidden.MAINTENANCE,
    NodeStatus.SUSPECT: Hidden.SUSPECT,
    NodeStatus.OFFLINE: Hidden.OFFLINE,
}


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
