"""When a rental stops by itself because its renter said so: at an instant, or at a sum."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, money
from core.errors import Conflict, Invalid
from rentals.machine import State
from rentals.models import Rental
from rentals.services.life import reason, stand_still
from rentals.services.moving import announce, is_ending, lock_rental
from rentals.services.steering import mine

MAX_AHEAD = dt.timedelta(days=365)
MAX_CAP = 1_000_000 * money.NANO
WARN_PERCENT = 80


@transaction.atomic
def set_limits(
    *,
    actor: Actor,
    rental_id: uuid.UUID,
    ends_at: dt.datetime | None,
    spend_cap: int | None,
) -> Rental:
    """Say when a rental stops by itself, its disk kept: at an instant, or at a sum (nano-units). None: never.

    Raises Invalid `ends_at_range`, `spend_cap_range`; Conflict `action_not_now`.
    """
    rental = mine(actor, rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; nothing can be limited any more.")
    now = clock.now()
    if ends_at is not None and not now < ends_at <= now + MAX_AHEAD:
        raise Invalid("ends_at_range", "The end lies in the future and at most a year away.")
    spent = billing.bill_of(subject_id=rental.pk).total
    if spend_cap is not None and not spent < spend_cap <= MAX_CAP:
        so_far = money.human_string(spent)
        raise Invalid(
            "spend_cap_range",
            f"A cap lies above what it has cost so far (${so_far}) and below one million.",
        )
    rental.ends_at, rental.spend_cap, rental.cap_warned_at = ends_at, spend_cap, None
    rental.save(update_fields=["ends_at", "spend_cap", "cap_warned_at"])
    audit.record(
        actor=actor,
        verb="rental.limited",
        subject_type="rental",
        subject_id=rental.pk,
        data={"ends_at": ends_at and ends_at.isoformat(), "spend_cap": spend_cap},
    )
    announce(rental)
    return rental


@transaction.atomic
def enforce_limits(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """Stop a running rental that has reached its end or its cap, billed to that second; warn at 80 %."""
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.RUNNING:
        return
    now = clock.epoch()
    if rental.ends_at is not None and clock.to_epoch(rental.ends_at) <= now:
        end = reason("end_reached", "It reached the end that you set. The disk is kept.")
        stand_still(actor, rental, end, clock.to_epoch(rental.ends_at))
    elif rental.spend_cap is not None:
        _enforce_cap(actor, rental, rental.spend_cap, now)


def _enforce_cap(actor: Actor, rental: Rental, cap: int, now: int) -> None:
    bill = billing.bill_of(subject_id=rental.pk)
    rate = sum(line.rate for line in bill.lines if line.ended is None)
    if bill.total >= cap:
        # The last second that still fits: what is above the cap is taken back.
        at = now + (cap - bill.total) // rate if rate else now
        end = reason("cap_reached", "It reached the cap that you set. The disk is kept.")
        stand_still(actor, rental, end, at)
    elif bill.total * 100 >= cap * WARN_PERCENT and rental.cap_warned_at is None:
        rental.cap_warned_at = clock.now()
        rental.save(update_fields=["cap_warned_at"])
        audit.record(
            actor=actor,
            verb="rental.cap_near",
            subject_type="rental",
            subject_id=rental.pk,
            data={"spent": bill.total, "cap": cap},
        )
        announce(rental)
