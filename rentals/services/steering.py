"""What a renter tells a rental to do. Locks go rental, node, workload, wallet, always in that direction."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts.actors import Actor
from billing import services as billing
from core import clock, currency, money
from core.errors import Conflict, Forbidden, Invalid, NotFound
from nodes import services as nodes
from nodes.machine import NodeStatus, Wish
from nodes.models import Allocation, Node, Workload
from nodes.services.capacity import lock_rentable
from rentals.machine import COMING_UP, Action, State, actions
from rentals.models import Rental
from rentals.services.addresses import take_address_again
from rentals.services.brake import note_cancelled_start, require_starts_left
from rentals.services.launching import use_secrets_of
from rentals.services.life import reason, stand_still, wind_up
from rentals.services.meters import close_compute, hold_compute, hold_storage
from rentals.services.moving import is_ending, move, tell_of_steering
from rentals.services.terms import unanswered

# What staff may do with somebody else's rental: nothing that lets them in, runs something there or spends money.
OF_STAFF = frozenset({Action.STOP, Action.END})


def mine(actor: Actor, rental_id: uuid.UUID, *, of_staff: bool = False) -> Rental:
    """Lock and return a rental that the actor may steer.

    `of_staff`: this is something that staff may do with anybody's. Raises NotFound `rental_unknown`, Forbidden
    `renter_only`.
    """
    actor.require("rental:manage")
    found = Rental.objects.of_renter(actor).lock().select_related("node").filter(pk=rental_id)
    rental = found.first()
    if rental is None:
        raise NotFound("rental_unknown", "You have no such rental.")
    if not of_staff:
        require_own(actor, rental)
    return rental


def is_own(actor: Actor, rental: Rental) -> bool:
    """Whether a rental is the actor's own; staff see others', too."""
    return actor.id == str(rental.renter_id)


def require_own(actor: Actor, rental: Rental) -> None:
    """Raise Forbidden `renter_only` unless a rental is the actor's own."""
    if not is_own(actor, rental):
        raise Forbidden(
            "renter_only",
            "This is for its renter alone. Staff see a rental and its bill and can stop or end it; they do not get "
            "into it, read what it wrote, or decide for its renter. Nothing was changed.",
        )


def _steered(actor: Actor, rental_id: uuid.UUID, action: Action) -> Rental:
    rental = mine(actor, rental_id, of_staff=action in OF_STAFF)
    if action not in actions(State(rental.state), ending=is_ending(rental)):
        raise Conflict(
            "action_not_now", f"A rental that is {rental.state} cannot be told to {action.value}."
        )
    return rental


@transaction.atomic
def stop_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """Stop the machine and keep the disk. Compute is billed up to this instant."""
    rental = _steered(actor, rental_id, Action.STOP)
    if is_own(actor, rental):
        end = reason("stopped_by_renter", "You stopped it.")
    else:
        end = reason("stopped_by_staff", "The platform's staff stopped it. Its disk is kept.")
    stand_still(actor, rental, end, None)
    return rental


@transaction.atomic
def start_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """Start a stopped rental again on its machine; while it stops, turn it round with the machine held.

    A stop that is turned round was none: work is billed through when it answers again. Raises Conflict
    `offer_taken` (the machine is rented to somebody else or away), `limit_reached`, `price_not_accepted`,
    FundsInsufficient, RateLimited `failed_starts`.
    """
    rental = _steered(actor, rental_id, Action.START)
    use_secrets_of(rental)
    require_starts_left(rental.renter_id)
    _require_room_to_run(rental)
    _require_price(rental)
    _take_machine_again(actor, rental)
    hold_storage(actor, rental)
    hold_compute(actor, rental)
    move(actor, rental, State.STARTING, end=None)
    return rental


def _take_machine_again(actor: Actor, rental: Rental, *, any_cards: bool = False) -> Workload:
    """Wish that a rental runs, on the part of its machine that it still holds or takes again.

    A container keeps the cards that it was made for; only a fresh one may have others.
    """
    node = Node.objects.lock().get(pk=rental.node_id)
    held = Allocation.objects.filter(workload=rental.workload_id, released_at=None).exists()
    try:
        if not held:
            lock_rentable(node.pk)
        workload = nodes.wish_workload(
            actor=actor,
            workload_id=rental.workload_id,
            wish=Wish.RUNNING,
            reason="started by renter",
        )
        if held:
            return workload
        node.refresh_from_db()
        limits = workload.spec["resource_limits"]
        allocation = nodes.allocate(
            node=node,
            workload=workload,
            gpu_count=rental.gpu_count,
            disk_gb=rental.disk_gb,
            cards=None if any_cards else limits["gpu_uuids"],
        )
    except Conflict as taken:
        raise Conflict(taken.code, _TAKEN.format(node=rental.node.name)) from taken
    if any_cards:
        workload.spec = {**workload.spec, "resource_limits": {**limits, **_cards(allocation)}}
        workload.save(update_fields=["spec"])
    take_address_again(actor, rental, workload)
    return workload


def _cards(allocation: Allocation) -> dict[str, list[str]]:
    gpus = [row.gpu for row in allocation.gpus.select_related("gpu").order_by("gpu__index")]
    return {
        "gpu_uuids": [gpu.uuid for gpu in gpus],
        "gpu_indices": [str(gpu.index) for gpu in gpus],
    }


_TAKEN = (
    "What this rental ran on at {node} is rented to somebody else or away now. Its disk is kept: "
    "try again later, or rent another machine and end this one. Nothing was charged."
)


@transaction.atomic
def restart_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """Stop and start the same container, data kept. It is billed through when it answers again in time.

    Raises Conflict `action_not_now`, `machine_away`; RateLimited `failed_starts`.
    """
    rental = _steered(actor, rental_id, Action.RESTART)
    use_secrets_of(rental)
    _require_contact(rental)
    require_starts_left(rental.renter_id)
    nodes.restart_workload(actor=actor, workload_id=rental.workload_id)
    _start_over(actor, rental)
    tell_of_steering(actor, rental, "restart")
    return rental


@transaction.atomic
def recreate_rental(*, actor: Actor, rental_id: uuid.UUID, confirmed: bool) -> Rental:
    """Replace the container by a fresh one from the image. Everything on its disk is deleted.

    Address, keys and price stay. Raises Invalid `confirm_data_loss` unless `confirmed`; Conflict as
    `start_rental` and `restart_rental` do.
    """
    rental = _steered(actor, rental_id, Action.RECREATE)
    require_starts_left(rental.renter_id)
    if not confirmed:
        raise Invalid(
            "confirm_data_loss",
            f"This deletes everything on the {rental.disk_gb} GB disk. "
            "Send confirm_data_loss=true when you mean it; a restart keeps the disk.",
        )
    use_secrets_of(rental)
    if State(rental.state) is State.STOPPED:
        _require_room_to_run(rental)
        _require_price(rental)
        _take_machine_again(actor, rental, any_cards=True)
        hold_storage(actor, rental)
        hold_compute(actor, rental)
    else:
        _require_contact(rental)
    nodes.renew_workload(actor=actor, workload_id=rental.workload_id)
    rental.fresh = True
    rental.save(update_fields=["fresh"])
    _start_over(actor, rental)
    tell_of_steering(actor, rental, "recreate")
    return rental


def _start_over(actor: Actor, rental: Rental) -> None:
    """Let a rental's container start again; what was being billed goes on when it answers (ADR 15)."""
    stopped = close_compute(actor, rental, None) if rental.state == State.RUNNING else None
    billed_until = None if stopped is None else clock.from_epoch(stopped)
    move(actor, rental, State.STARTING, end=None, billed_until=billed_until)


def _require_contact(rental: Rental) -> None:
    if rental.node.status == NodeStatus.OFFLINE.value:
        raise Conflict(
            "machine_away",
            f"{rental.node.name} does not answer now and nothing is billed meanwhile. "
            "Wait until it is back, or end the rental free of charge.",
        )


def _require_room_to_run(rental: Rental) -> None:
    over = rental.ends_at is not None and rental.ends_at <= clock.now()
    spent = billing.bill_of(subject_id=rental.pk).total
    if over or (rental.spend_cap is not None and spent >= rental.spend_cap):
        raise Conflict(
            "limit_reached",
            "It has reached the end or the cap that you set. Raise or remove that, then start it.",
        )


def _require_price(rental: Rental) -> None:
    change = unanswered(rental)
    if change is None or rental.price_until > clock.now():
        return
    new = currency.priced((change.compute_rate + change.storage_rate) * money.SECONDS_PER_HOUR)
    until = f"{rental.price_until:%Y-%m-%d %H:%M} UTC"
    raise Conflict(
        "price_not_accepted",
        f"Its price was locked until {until} and is {new} an hour now. "
        "Accept that price, then start it, or end it. Nothing was changed.",
        change_id=str(change.pk),
    )


@transaction.atomic
def end_rental(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    """End a rental and delete its disk. Everything is billed up to this instant, and no further."""
    rental = _steered(actor, rental_id, Action.END)
    if not is_own(actor, rental):
        end = reason("ended_by_staff", "The platform's staff ended it; its disk is deleted.")
        wind_up(actor, rental, end, None)
        return rental
    if rental.state in COMING_UP:
        note_cancelled_start(rental)
    if rental.state in COMING_UP and rental.running_since is None:
        end = reason("cancelled", "You cancelled it before it was usable. No charge.")
    else:
        end = reason("ended_by_renter", "You ended it.")
    wind_up(actor, rental, end, None)
    return rental
