"""When silence becomes suspicion and then loss. Pure."""

from __future__ import annotations

from nodes.machine import STANDING, NodeStatus


def judge(status: NodeStatus, silence: float, *, suspect: float, offline: float) -> NodeStatus:
    """Return the status that `silence` seconds without a beat call for.

    Args:
        status: what the node is now; one that stands is suspected first, one in maintenance is
            only ever lost, and only a beat makes anything better.
        silence: seconds since the last beat.
        suspect, offline: limits in seconds.
    """
    if status is NodeStatus.OFFLINE:
        return status
    if silence >= offline:
        return NodeStatus.OFFLINE
    if silence >= suspect and status in STANDING:
        return NodeStatus.SUSPECT
    return status
