"""When silence becomes suspicion and then loss. Pure."""

from __future__ import annotations

from nodes.machine import ALIVE, NodeStatus


def judge(status: NodeStatus, silence: float, *, suspect: float, offline: float) -> NodeStatus:
    """Return the status that `silence` seconds without a beat call for.

    Args:
        status: what the node is now; only a living or suspected node can get worse here, and only a
            beat makes it better.
        silence: seconds since the last beat.
        suspect, offline: limits in seconds.
    """
    if status is NodeStatus.OFFLINE:
        return status
    if silence >= offline:
        return NodeStatus.OFFLINE
    if silence >= suspect and status in ALIVE:
        return NodeStatus.SUSPECT
    return status
