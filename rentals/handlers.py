"""What rentals do about news of machines and money, and what people are told of rentals."""

from __future__ import annotations

import uuid

from accounts.actors import Actor
from billing.events import WalletExhausted
from core.outbox import on
from nodes.events import LogsExpiring, NodeBack, NodeDrained, NodeLost, WorkloadObserved
from rentals import reconcile, services
from rentals.events import (
    PriceChanged,
    RaiseAnswered,
    RaiseProposed,
    RentalContact,
    RentalLimitNear,
    RentalMoved,
    RentalSteered,
    ReserveFreed,
)
from rentals.machine import State
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


@on(RentalMoved)
def tell_of_move(event: RentalMoved) -> None:
    services.tell_of_move(
        rental_id=uuid.UUID(event.rental_id),
        to=State(event.to),
        at=event.at,
        ran=event.ran,
        code=event.code,
        message=event.message,
    )


@on(RentalContact)
def tell_of_contact(event: RentalContact) -> None:
    services.tell_of_contact(rental_id=uuid.UUID(event.rental_id), lost=event.lost, at=event.at)


@on(RentalLimitNear)
def tell_of_limit(event: RentalLimitNear) -> None:
    services.tell_of_limit(
        rental_id=uuid.UUID(event.rental_id),
        at=event.at,
        spent=event.spent,
        cap=event.cap,
        end=event.end,
        idle_since=event.idle_since,
    )


@on(RentalSteered)
def tell_of_steering(event: RentalSteered) -> None:
    services.tell_of_steering(
        rental_id=uuid.UUID(event.rental_id),
        action=event.action,
        who=event.who,
        at=event.at,
        keys=event.keys,
    )


@on(ReserveFreed)
def tell_of_reserve(event: ReserveFreed) -> None:
    services.tell_of_reserve(
        owner_id=uuid.UUID(event.owner_id),
        rental_ids=[uuid.UUID(rental_id) for rental_id in event.rental_ids],
        until=event.until,
        at=event.at,
    )


@on(RaiseProposed)
def tell_of_proposal(event: RaiseProposed) -> None:
    services.tell_of_proposal(change_id=uuid.UUID(event.change_id))


@on(RaiseAnswered)
def tell_of_answer(event: RaiseAnswered) -> None:
    services.tell_of_answer(change_id=uuid.UUID(event.change_id), accepted=event.accepted)


@on(PriceChanged)
def tell_of_price(event: PriceChanged) -> None:
    services.tell_of_price(change_id=uuid.UUID(event.change_id))


@on(NodeDrained)
def tell_of_drain(event: NodeDrained) -> None:
    if event.draining:
        services.tell_of_drain(node_id=uuid.UUID(event.node_id), at=event.at)


@on(LogsExpiring)
def tell_of_logs(event: LogsExpiring) -> None:
    services.tell_of_logs(workload_id=uuid.UUID(event.workload_id), until=event.until)
