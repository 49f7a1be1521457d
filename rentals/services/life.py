"""The verbs of a rental's life. Locks go rental, node, workload, wallet, always in that direction."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts.actors import Actor
from billing import services as billing
from core import clock
from core.errors import Conflict, NotFound
from nodes import services as nodes
from nodes.machine import Wish
from nodes.models import Workload
from nodes.services.capacity import lock_rentable
from rentals.machine import COMING_UP, Action, State, actions
from rentals.models import Rental
from rentals.services.moving import announce, lock_rental, move
from rentals.services.renting import COMPUTE_HOLD_SECONDS


def _steered(actor: Actor, rental_id: uuid.UUID, action: Action) -> Rental:
    actor.require("rental:manage")
    rental = (
        Rental.objects.of_renter(actor).lock().select_related("node").filter(pk=rental_id).first()
    )
    if rental is None:
        raise NotFound("rental_unknown", "You have no such rental.")
    if action not in actions(State(rental.state)):
        raise Conflict(
            "action_not_now", f"A rental that is {rental.state} cannot be told to {action.value}."
        )
    return rental


@transaction.atomic
def stop_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """Stop the machine and keep the disk. Compute is billed up to this instant."""
    rental = _steered(actor, rental_id, Action.STOP)
    _close_compute(actor, rental, clock.epoch())
    end = _reason("renter", "stopped_by_renter", "You stopped it.")
    move(actor, rental, State.STOPPING, end=end)
    nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.STOPPED, reason="stopped by renter"
    )
    return rental


@transaction.atomic
def start_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """Start a stopped rental again on its machine. Raises Conflict `offer_taken`, FundsInsufficient."""
    rental = _steered(actor, rental_id, Action.START)
    node = lock_rentable(rental.node_id)
    workload = nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.RUNNING, reason="started by renter"
    )
    node.refresh_from_db()
    nodes.allocate(node=node, workload=workload, gpu_count=rental.gpu_count, disk_gb=rental.disk_gb)
    hold = billing.place_hold(
        actor=actor,
        owner_id=rental.renter_id,
        amount=rental.compute_rate * COMPUTE_HOLD_SECONDS,
        reason="compute",
        subject_id=rental.pk,
    )
    move(actor, rental, State.STARTING, end=None, compute_hold_id=hold.pk)
    return rental


@transaction.atomic
def end_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """End a rental and delete its disk. Everything is billed up to this instant, and no further."""
    rental = _steered(actor, rental_id, Action.END)
    if rental.state in COMING_UP and rental.running_since is None:
        reason = _reason("renter", "cancelled", "You cancelled it before it was usable. No charge.")
    else:
        reason = _reason("renter", "ended_by_renter", "You ended it.")
    _wind_up(actor, rental, reason, clock.epoch())
    return rental


@transaction.atomic
def fail_rental(
    *,
    actor: Actor,
    rental_id: uuid.UUID,
    party: str,
    code: str,
    message: str,
    at: int | None = None,
) -> None:
    """End a rental that cannot go on, whose side it is on, billed up to `at` (epoch seconds; now)."""
    rental = lock_rental(rental_id)
    if State(rental.state) in {State.STOPPING, State.ENDED}:
        return
    _wind_up(actor, rental, _reason(party, code, message), clock.epoch() if at is None else at)


@transaction.atomic
def stop_for_exhaustion(*, actor: Actor, rental_id: uuid.UUID, at: int) -> None:
    """Stop a rental whose wallet is used up, billed up to `at`; the storage reserve keeps its disk."""
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.RUNNING:
        return
    _close_compute(actor, rental, at)
    end = _reason("renter", "balance_used_up", "Your balance is used up. The disk is kept for now.")
    move(actor, rental, State.STOPPING, end=end)
    nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.STOPPED, reason="balance used up"
    )


def _wind_up(actor: Actor, rental: Rental, end: dict[str, str], at: int) -> None:
    _close_compute(actor, rental, at)
    _close_storage(actor, rental, at)
    move(actor, rental, State.STOPPING, end=end)
    workload = nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.ABSENT, reason=end["code"]
    )
    if workload.observed_state == "absent":
        move(actor, rental, State.ENDED, ended_at=clock.now())


def _reason(party: str, code: str, message: str) -> dict[str, str]:
    fault = {"host": "host", "platform": "platform"}.get(party, "none")
    return {"party": party, "code": code, "message": message, "fault": fault, "refund": "0.00"}


def _close_compute(actor: Actor, rental: Rental, at: int) -> None:
    if rental.compute_meter_id:
        billing.close_meter(actor=actor, meter_id=rental.compute_meter_id, at=at)
    if rental.compute_hold_id:
        billing.release_hold(actor=actor, hold_id=rental.compute_hold_id)
    rental.compute_meter_id = rental.compute_hold_id = None
    rental.save(update_fields=["compute_meter_id", "compute_hold_id"])


def _close_storage(actor: Actor, rental: Rental, at: int) -> None:
    if rental.storage_meter_id:
        billing.close_meter(actor=actor, meter_id=rental.storage_meter_id, at=at)
    if rental.storage_hold_id:
        billing.release_hold(actor=actor, hold_id=rental.storage_hold_id)
    rental.storage_meter_id = rental.storage_hold_id = None
    rental.save(update_fields=["storage_meter_id", "storage_hold_id"])


# --- What the reconciler calls


@transaction.atomic
def mark_pulling(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """The image is being downloaded; also called for each step of the progress."""
    rental = lock_rental(rental_id)
    if State(rental.state) in {State.RESERVED, State.STARTING}:
        move(actor, rental, State.PULLING)
    else:
        announce(rental)


@transaction.atomic
def mark_starting(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """The container is up; its address does not answer yet."""
    rental = lock_rental(rental_id)
    if State(rental.state) in {State.RESERVED, State.PULLING}:
        move(actor, rental, State.STARTING)


@transaction.atomic
def mark_running(*, actor: Actor, rental_id: uuid.UUID, at: int) -> None:
    """SSH answered through the public address at `at` (epoch seconds): billing starts now, once."""
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.STARTING:
        return
    instant = clock.from_epoch(at)
    move(actor, rental, State.RUNNING, running_since=instant, last_probe=instant, end=None)
    open_meters(actor, rental, at)


def open_meters(actor: Actor, rental: Rental, at: int) -> None:
    """Open what is not open yet of a locked, running rental's two meters, at `at`."""
    if rental.compute_meter_id is None:
        meter = billing.open_meter(
            actor=actor,
            kind="compute",
            owner_id=rental.renter_id,
            payee_id=rental.node.owner_id,
            rate=rental.compute_rate,
            fee_bps=rental.fee_bps,
            subject_id=rental.pk,
            at=at,
            release_hold_id=rental.compute_hold_id,
        )
        rental.compute_meter_id, rental.compute_hold_id = meter.pk, None
    if rental.storage_meter_id is None and rental.storage_rate > 0:
        meter = billing.open_meter(
            actor=actor,
            kind="storage",
            owner_id=rental.renter_id,
            payee_id=rental.node.owner_id,
            rate=rental.storage_rate,
            fee_bps=rental.fee_bps,
            subject_id=rental.pk,
            at=at,
            release_hold_id=None,
        )
        rental.storage_meter_id = meter.pk
    rental.save(update_fields=["compute_meter_id", "compute_hold_id", "storage_meter_id"])


@transaction.atomic
def mark_stopped(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """The agent says the container is stopped and its disk is kept."""
    rental = lock_rental(rental_id)
    workload = Workload.objects.get(pk=rental.workload_id)
    if State(rental.state) is State.STOPPING and workload.wish == Wish.STOPPED:
        move(actor, rental, State.STOPPED)


@transaction.atomic
def mark_gone(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """Nothing is left on the machine, or the machine is lost and nothing more can be billed."""
    rental = lock_rental(rental_id)
    workload = Workload.objects.get(pk=rental.workload_id)
    if State(rental.state) is State.STOPPING and workload.wish == Wish.ABSENT:
        move(actor, rental, State.ENDED, ended_at=clock.now())
