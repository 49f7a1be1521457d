"""What rentals do about news of machines and money."""

from __future__ import annotations

import uuid

from accounts.actors import Actor
from billing.events import WalletExhausted
from core.outbox import on
from nodes.events import NodeLost, WorkloadObserved
from rentals import reconcile
from rentals.services.life import stop_for_exhaustion


@on(WorkloadObserved)
def follow_workload(event: WorkloadObserved) -> None:
    reconcile.advance_workload(uuid.UUID(event.workload_id))


@on(NodeLost)
def pause_rentals(event: NodeLost) -> None:
    reconcile.pause_node(uuid.UUID(event.node_id), event.last_beat)


@on(WalletExhausted)
def stop_rentals(event: WalletExhausted) -> None:
    for subject_id in event.subject_ids:
        stop_for_exhaustion(actor=Actor.system(), rental_id=uuid.UUID(subject_id), at=event.at)
