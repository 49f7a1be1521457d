"""When a rental stops by itself because its renter said so: at an instant, or at a sum."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, currency, idempotency, money
from core.errors import Conflict, Invalid
from core.ids import new_id
from rentals.machine import State
from rentals.models import Rental
from rentals.services.life import stand_still
from rentals.services.moving import announce, is_ending, lock_rental
from rentals.services.planned import (
    WARN_OF_END,
    planned_stop,
    save_in_time,
    warn_of_cap,
    warn_of_end,
    warn_of_idleness,
)
from rentals.services.prices import shorten_lock
from rentals.services.steering import mine
from rentals.services.terms import MAX_AHEAD, require_end

MAX_CAP = 1_000_000 * money.NANO
WARN_PERCENT = 80
MIN_IDLE, MAX_IDLE = 5, 7 * 24 * 60
LIMITS = (
    "ends_at", "spend_cap", "cap_warned_at", "end_warned_at", "idle_minutes", "idle_warned_at",
    "price_until", "price_by_end",
)  # fmt: skip
MAX_COMMAND = 1000
MAX_CHECKPOINT_SECONDS = 600


@transaction.atomic
def set_limits(
    *,
    actor: Actor,
    rental_id: uuid.UUID,
    ends_at: dt.datetime | None,
    spend_cap: int | None,
    idle_minutes: int | None = None,
) -> Rental:
    """Say when a rental stops by itself, its disk kept: at an instant, at a sum (nano-units), when idle.

    None: never. What a far end date has locked the price for longer goes with it (`shorten_lock`). Raises
    Invalid `ends_at_range`, `spend_cap_range`, `idle_range`; Conflict `action_not_now`.
    """
    rental = mine(actor, rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; nothing can be limited any more.")
    require_end(ends_at)
    spent = billing.bill_of(subject_id=rental.pk).total
    if spend_cap is not None and not spent < spend_cap <= MAX_CAP:
        so_far = currency.priced(spent)
        raise Invalid(
            "spend_cap_range",
            f"A cap lies above what it has cost so far ({so_far}) and below one million.",
        )
    if idle_minutes is not None and not MIN_IDLE <= idle_minutes <= MAX_IDLE:
        raise Invalid("idle_range", f"Name {MIN_IDLE} to {MAX_IDLE} minutes of idleness, or none.")
    shorten_lock(rental, ends_at)
    rental.ends_at, rental.spend_cap, rental.cap_warned_at = ends_at, spend_cap, None
    rental.idle_minutes, rental.idle_warned_at = idle_minutes, None
    rental.end_warned_at = _known(ends_at, clock.now())
    rental.save(update_fields=LIMITS)
    audit.record(
        actor=actor,
        verb="rental.limited",
        subject_type="rental",
        subject_id=rental.pk,
        data={
            "ends_at": ends_at and ends_at.isoformat(),
            "spend_cap": spend_cap,
            "idle_minutes": idle_minutes,
            "price_until": rental.price_until.isoformat(),
        },
    )
    announce(rental)
    return rental


def _known(ends_at: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    """Whoever sets an end within the hour need not be warned of it."""
    return now if ends_at is not None and ends_at - now <= WARN_OF_END else None


@transaction.atomic
def extend_rental(
    *, actor: Actor, rental_id: uuid.UUID, seconds: int, idempotency_key: str = ""
) -> Rental:
    """Put a rental's end off by `seconds`, from its end date or, when that is over, from now.

    The other limits stay. Once for each key, when there is one. Raises Conflict `no_end`, `action_not_now`,
    `idempotency_key_reused`; Invalid `ends_at_range`.
    """
    rental = mine(actor, rental_id)
    if idempotency_key:
        this, body = new_id(), f"extend:{rental_id}:{seconds}"
        first = idempotency.claim(
            owner_id=actor.user_id, key=idempotency_key, body=body, subject_id=this
        )
        if first != this:
            return rental
    if rental.ends_at is None:
        raise Conflict("no_end", "This rental has no end date, so there is nothing to put off.")
    if seconds <= 0:
        raise Invalid("ends_at_range", "An extension is longer than nothing.")
    later = min(dt.timedelta(seconds=seconds), 2 * MAX_AHEAD)
    return set_limits(
        actor=actor,
        rental_id=rental_id,
        ends_at=max(rental.ends_at, clock.now()) + later,
        spend_cap=rental.spend_cap,
        idle_minutes=rental.idle_minutes,
    )


@transaction.atomic
def set_checkpoint(*, actor: Actor, rental_id: uuid.UUID, command: str, seconds: int) -> Rental:
    """Name a shell command that runs inside before the platform stops a rental; an empty one: none.

    It gets `seconds` (1 to 600) and runs while the rental still runs and is billed, so that it ends by
    the end date, the cap or the last second that the balance pays. Raises Invalid `checkpoint_range`.
    """
    rental = mine(actor, rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; nothing is left to save.")
    command = command.strip()
    if len(command) > MAX_COMMAND or "\0" in command or not 1 <= seconds <= MAX_CHECKPOINT_SECONDS:
        raise Invalid(
            "checkpoint_range",
            f"A command has up to {MAX_COMMAND} characters and 1 to {MAX_CHECKPOINT_SECONDS} s.",
        )
    rental.checkpoint_command, rental.checkpoint_seconds = command, seconds
    rental.checkpointed_at = None
    rental.save(update_fields=["checkpoint_command", "checkpoint_seconds", "checkpointed_at"])
    audit.record(
        actor=actor,
        verb="rental.checkpoint_set",
        subject_type="rental",
        subject_id=rental.pk,
        data={"seconds": seconds, "on": bool(command)},
    )
    announce(rental)
    return rental


@transaction.atomic
def enforce_limits(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """Stop a running rental at the second that its plan names, save it before, warn at 80 % of the cap."""
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.RUNNING:
        return
    now = clock.epoch()
    plan = planned_stop(rental, now)
    if plan is not None and plan.at <= now:
        stand_still(actor, rental, plan.end, plan.at)
        return
    save_in_time(actor, rental, plan, now)
    warn_of_cap(actor, rental, WARN_PERCENT)
    warn_of_end(rental)
    warn_of_idleness(rental)


@transaction.atomic
def note_idle(*, rental_id: uuid.UUID, since: dt.datetime | None) -> None:
    """Write down since when a running rental does next to nothing; None: it works."""
    rental = lock_rental(rental_id)
    if State(rental.state) is State.RUNNING and (rental.idle_since is None) != (since is None):
        rental.idle_since, rental.idle_warned_at = since, None
        rental.save(update_fields=["idle_since", "idle_warned_at"])
        announce(rental)
