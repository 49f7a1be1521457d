"""What hosts are told of their machines. Called by the outbox's handlers, so nothing here is locked."""

from __future__ import annotations

import uuid

from accounts import services as accounts
from nodes.machine import Hidden
from nodes.models import Node
from nodes.services.listing import failed_checks

# What a host has to mend before a machine is listed again.
_BROKEN = frozenset({Hidden.CHECK_FAILED.value, Hidden.NO_DISK.value, Hidden.MAINTENANCE.value})


def tell_host(*, node_id: uuid.UUID, code: str, at: float, **params: str | int) -> None:
    """Tell the owner of a machine what happened to it at `at` (epoch seconds)."""
    node = Node.objects.get(pk=node_id)
    accounts.notify(
        user_id=node.owner_id,
        code=code,
        key=f"{node_id}:{at}",
        subject_id=node_id,
        params={"node": node.name, "at": int(at), **params},
    )


def tell_of_listing(*, node_id: uuid.UUID, was: str, now: str, at: float) -> None:
    """Tell a host that a machine is not listed until something is mended, or that it is listed again."""
    if now == Hidden.CHECK_FAILED.value:
        tell_host(node_id=node_id, code="machine_check_failed", at=at, checks=_failing(node_id))
    elif now == Hidden.NO_DISK.value:
        tell_host(node_id=node_id, code="machine_disk_low", at=at)
    elif not now and was in _BROKEN:
        tell_host(node_id=node_id, code="machine_listed", at=at)


def _failing(node_id: uuid.UUID) -> str:
    node = Node.objects.get(pk=node_id)
    names = set(failed_checks(node))
    failing = [check for check in node.checks if check["check"] in names]
    told = [
        f"{check['check']}: {check['measured'] or 'failed'}, needs {check['required'] or 'to pass'}. "
        f"{check['remedy']}".strip()
        for check in failing
    ]
    return " ".join(told) or "it passes by now."
