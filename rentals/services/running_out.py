"""When a wallet is used up: work stops first, then the reserve keeps the disks, and only then they go."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, outbox
from nodes.models import Node
from rentals.events import ReserveFreed
from rentals.machine import State
from rentals.models import Rental, RentalQuerySet
from rentals.services.life import reason, stand_still, wind_up
from rentals.services.meters import STORAGE_HOLD_SECONDS as RESERVE_SECONDS
from rentals.services.meters import release_reserve
from rentals.services.moving import announce, is_ending, lock_rental
from rentals.services.outages import pause_locked


def use_up(*, actor: Actor, owner_id: uuid.UUID) -> None:
    """Do what a used-up wallet calls for; harmless when it is not used up.

    1. Everything that runs stops, billed to the second the money ended. 2. The reserves of all its disks become
    spendable: 48 hours of storage. 3. When those are used up too, the disks are deleted. Each step is
    taken only while the wallet is used up, so a late or doubled call takes none too many.
    """
    for rental_id in _of(owner_id).filter(state=State.RUNNING.value).values_list("pk", flat=True):
        _stop(actor, rental_id)
    if _free_reserves(actor, owner_id):
        return
    costing = _of(owner_id).filter(storage_meter_id__isnull=False)
    for rental_id in list(costing.values_list("pk", flat=True)):
        _let_go(actor, rental_id)


def _of(owner_id: uuid.UUID) -> RentalQuerySet:
    return Rental.objects.filter(renter_id=owner_id).exclude(state=State.ENDED.value).order_by("pk")


def _locked(rental_id: uuid.UUID) -> tuple[Rental, int | None]:
    """Lock a rental, its node and its wallet, in that order; return since when the wallet is used up."""
    rental = lock_rental(rental_id)
    # Read again under its lock: a beat may have come since.
    rental.node = Node.objects.lock().get(pk=rental.node_id)
    return rental, billing.used_up_at(owner_id=rental.renter_id)


@transaction.atomic
def _stop(actor: Actor, rental_id: uuid.UUID) -> None:
    rental, at = _locked(rental_id)
    if at is None or _unheard(actor, rental):
        return
    if State(rental.state) is State.RUNNING:
        end = reason("balance_used_up", "Your balance is used up. The disk is kept for now.")
        stand_still(actor, rental, end, at)


def _unheard(actor: Actor, rental: Rental) -> bool:
    """Whether nobody has heard of a locked rental's machine: then it may have used up nothing at all.

    A lost machine's meters are stopped at its last beat, which gives money back. One that is only
    suspected decides itself soon, and costs nothing meanwhile: there is no money left to burn.
    """
    beat = rental.node.last_beat
    silence = (clock.now() - beat).total_seconds() if beat is not None else 0.0
    if silence >= settings.DC.offline_seconds and rental.unreachable_since is None and beat:
        pause_locked(actor, rental, clock.to_epoch(beat))
    return silence >= settings.DC.suspect_seconds


@transaction.atomic
def _free_reserves(actor: Actor, owner_id: uuid.UUID) -> bool:
    """Make every reserve of a used-up wallet spendable, all at once; True when that helped."""
    rentals = list(_of(owner_id).lock().filter(storage_hold_id__isnull=False))
    running = any(State(rental.state) is State.RUNNING for rental in rentals)
    if billing.used_up_at(owner_id=owner_id) is None or running:
        return True
    for rental in rentals:
        release_reserve(actor, rental)
        audit.record(
            actor=actor,
            verb="rental.reserve_used",
            subject_type="rental",
            subject_id=rental.pk,
            data={"seconds": RESERVE_SECONDS},
        )
        announce(rental)
    if rentals:
        _tell(owner_id, rentals)
    return billing.used_up_at(owner_id=owner_id) is None


def _tell(owner_id: uuid.UUID, rentals: list[Rental]) -> None:
    now = clock.now().timestamp()
    ends = billing.balance_of(owner_id=owner_id).runs_out
    outbox.publish(
        ReserveFreed(
            owner_id=str(owner_id),
            rental_ids=[str(rental.pk) for rental in rentals],
            until=ends or int(now) + RESERVE_SECONDS,
            at=now,
        )
    )


@transaction.atomic
def _let_go(actor: Actor, rental_id: uuid.UUID) -> None:
    rental, at = _locked(rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental) or at is None:
        return
    if _unheard(actor, rental):
        return
    end = reason(
        "disk_unpaid",
        "Your balance and the disk's reserve were used up; the disk is gone.",
    )
    wind_up(actor, rental, end, at)
