"""What rentals do about news of machines and money."""

from __future__ import annotations

import uuid

from accounts.actors import Actor
from billing.events import WalletExhausted
from core.outbox import on
from nodes.events import NodeBack, NodeLost, WorkloadObserved
from rentals import reconcile
from rentals.services.running_out import use_up


@on(WorkloadObserved)
def follow_workload(event: WorkloadObserved) -> None:
    reconcile.advance_workload(uuid.UUID(event.workload_id))


@on(NodeLost)
def pause_rentals(event: NodeLost) -> None:
    reconcile.pause_node(uuid.UUID(event.node_id), event.last_beat)


@on(NodeBack)
def bill_again(event: NodeBack) -> None:
    reconcile.bridge_gap(uuid.UUID(event.node_id), event.last_beat, event.first_beat)


@on(WalletExhausted)
def stop_rentals(event: WalletExhausted) -> None:
    use_up(actor=Actor.system(), owner_id=uuid.UUID(event.owner_id))
