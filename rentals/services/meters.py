"""What a rental costs, switched on and off: its two meters and the money set aside for them.

Wallets are locked last of all (rental, node, workload, wallet): callers change wishes before they come here.
"""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts.actors import Actor
from billing import services as billing
from core import money
from core.errors import Conflict, FundsInsufficient
from rentals.machine import State
from rentals.models import Rental
from rentals.services.terms import prices_from

COMPUTE_HOLD_SECONDS = money.SECONDS_PER_HOUR
STORAGE_HOLD_SECONDS = 48 * money.SECONDS_PER_HOUR


def hold_compute(actor: Actor, rental: Rental) -> None:
    """Set the first hour of work aside. Raises FundsInsufficient."""
    hold = billing.place_hold(
        actor=actor,
        owner_id=rental.renter_id,
        amount=rental.compute_rate * COMPUTE_HOLD_SECONDS,
        reason="compute",
        subject_id=rental.pk,
    )
    rental.compute_hold_id = hold.pk
    rental.save(update_fields=["compute_hold_id"])


def hold_storage(actor: Actor, rental: Rental) -> None:
    """Set the disk's grace time aside, unless it is already. Raises FundsInsufficient."""
    if rental.storage_hold_id is not None:
        return
    hold = billing.place_hold(
        actor=actor,
        owner_id=rental.renter_id,
        amount=rental.storage_rate * STORAGE_HOLD_SECONDS,
        reason="storage",
        subject_id=rental.pk,
    )
    rental.storage_hold_id = hold.pk
    rental.save(update_fields=["storage_hold_id"])


def open_meters(actor: Actor, rental: Rental, at: int) -> None:
    """Open, at `at` (epoch seconds), what a locked rental costs in its state and is not open yet.

    What is free has no meter; the money set aside for work is given back all the same. When the price has
    changed since `at`, each second is billed at the price that it had.
    """
    if rental.state == State.RUNNING and rental.compute_meter_id is None:
        rental.compute_meter_id = _opened(
            actor, rental, "compute", at, release=rental.compute_hold_id
        )
        rental.compute_hold_id = None
    if rental.storage_meter_id is None:
        rental.storage_meter_id = _opened(actor, rental, "storage", at)
    rental.save(update_fields=["compute_meter_id", "compute_hold_id", "storage_meter_id"])


def _opened(
    actor: Actor, rental: Rental, kind: str, at: int, *, release: uuid.UUID | None = None
) -> uuid.UUID | None:
    """Open one meter, or one after the other where the price has changed since `at`; return the last.

    The hold behind it is released. None when there is nothing to bill.
    """
    meter_id = None
    for instant, rates in prices_from(rental, at):
        if meter_id is not None:
            billing.close_meter(actor=actor, meter_id=meter_id, at=instant)
        rate = rates.compute if kind == "compute" else rates.storage
        meter_id = _metered(actor, rental, kind, rate, instant, release)
        release = None
    return meter_id


def _metered(
    actor: Actor,
    rental: Rental,
    kind: str,
    rate: int,
    at: int,
    release: uuid.UUID | None,
) -> uuid.UUID | None:
    if rate == 0:
        if release is not None:
            billing.release_hold(actor=actor, hold_id=release)
        return None
    return billing.open_meter(
        actor=actor,
        kind=kind,
        owner_id=rental.renter_id,
        payee_id=rental.node.owner_id,
        rate=rate,
        subject_id=rental.pk,
        place_id=rental.node_id,
        at=at,
        release_hold_id=release,
    ).pk


def reprice(actor: Actor, rental: Rental, at: int) -> None:
    """Let a locked rental's meters end at `at` (epoch seconds) and go on from that second at its new rates.

    What is not billed now, because it never ran or cannot be reached, is not billed afterwards either.
    """
    if rental.running_since is not None and rental.unreachable_since is None:
        stop_meters(actor, rental, at)
        open_meters(actor, rental, at)


def resize_reserve(actor: Actor, rental: Rental) -> None:
    """Let a locked rental's reserve pay its disk's grace time at its new price, if the balance allows it."""
    if rental.storage_hold_id is None:
        return
    try:
        with transaction.atomic():
            release_reserve(actor, rental)
            hold_storage(actor, rental)
    except (FundsInsufficient, Conflict):
        # What was set aside stays so and lasts a little shorter; nobody is stopped for that.
        rental.refresh_from_db(fields=["storage_hold_id"])


def stop_meters(actor: Actor, rental: Rental, at: int) -> None:
    """Stop both meters at `at`; what is set aside stays so."""
    for meter_id in (rental.compute_meter_id, rental.storage_meter_id):
        if meter_id:
            billing.close_meter(actor=actor, meter_id=meter_id, at=at)
    rental.compute_meter_id = rental.storage_meter_id = None
    rental.save(update_fields=["compute_meter_id", "storage_meter_id"])


def close_compute(actor: Actor, rental: Rental, at: int | None) -> int | None:
    """Bill work up to `at` (epoch seconds; None: now) and give back what was set aside for it.

    Returns the instant up to which it is billed, None when nothing was being billed.
    """
    ended = None
    if rental.compute_meter_id:
        ended = billing.close_meter(actor=actor, meter_id=rental.compute_meter_id, at=at).ended
    if rental.compute_hold_id:
        billing.release_hold(actor=actor, hold_id=rental.compute_hold_id)
    rental.compute_meter_id = rental.compute_hold_id = None
    rental.save(update_fields=["compute_meter_id", "compute_hold_id"])
    return ended


def close_storage(actor: Actor, rental: Rental, at: int | None) -> None:
    """Bill the disk up to `at` (epoch seconds; None: now) and give back what was set aside for it."""
    if rental.storage_meter_id:
        billing.close_meter(actor=actor, meter_id=rental.storage_meter_id, at=at)
    rental.storage_meter_id = None
    rental.save(update_fields=["storage_meter_id"])
    release_reserve(actor, rental)


def release_reserve(actor: Actor, rental: Rental) -> None:
    """Make the disk's reserve spendable: the disk's own meter now lives on it."""
    if rental.storage_hold_id:
        billing.release_hold(actor=actor, hold_id=rental.storage_hold_id)
    rental.storage_hold_id = None
    rental.save(update_fields=["storage_hold_id"])
