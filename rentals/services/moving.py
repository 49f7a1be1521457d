"""The one place that moves a rental's state: guarded, audited, announced."""

from __future__ import annotations

import uuid
from typing import Any

from accounts.actors import Actor
from audit import services as audit
from core import clock, outbox
from nodes.machine import Wish
from nodes.models import Workload
from rentals.events import RentalChanged, RentalMoved, RentalSteered
from rentals.machine import State
from rentals.models import Rental
from rentals.services.starts import note_phase

MISSES_UNTIL_UNREACHABLE = 2


def lock_rental(rental_id: uuid.UUID) -> Rental:
    """Lock and return a rental until the transaction ends."""
    return Rental.objects.lock().select_related("node").get(pk=rental_id)


def is_ending(rental: Rental) -> bool:
    """Whether a rental's disk is being deleted, or gone: nothing turns that round."""
    wish = Workload.objects.values_list("wish", flat=True).get(pk=rental.workload_id)
    return wish == Wish.ABSENT.value


def move(actor: Actor, rental: Rental, to: State, **fields: Any) -> None:
    """Move a locked rental to another state, write who did it, and tell whoever watches."""
    frm = State(rental.state)
    ran = rental.running_since is not None
    timed = note_phase(rental, frm, to, rental.phase_since)
    # A new phase is neither idle nor saved yet.
    fresh = dict.fromkeys(("checkpointed_at", "idle_since", "idle_warned_at"))
    fields = {**fresh, "phase_since": clock.now(), **fields}
    if not Rental.objects.move(rental.pk, frm, to, **fields):
        raise RuntimeError(f"{rental} is locked, yet it is no longer {frm}")
    rental.state = to.value
    for name, value in fields.items():
        setattr(rental, name, value)
    audit.record(
        actor=actor,
        verb=f"rental.{to.value}",
        subject_type="rental",
        subject_id=rental.pk,
        data={"from": frm.value, "end": rental.end, **timed},
    )
    why = (rental.end or {}) if to in {State.STOPPING, State.STOPPED, State.ENDED} else {}
    outbox.publish(
        RentalMoved(
            rental_id=str(rental.pk),
            frm=frm.value,
            to=to.value,
            at=rental.phase_since.timestamp(),
            ran=ran,
            code=why.get("code", ""),
            message=why.get("message", ""),
        )
    )
    announce(rental)


def tell_of_steering(actor: Actor, rental: Rental, action: str, *, keys: int = 0) -> None:
    """Say that somebody has asked a rental for something that its renter should know of."""
    outbox.publish(
        RentalSteered(
            rental_id=str(rental.pk),
            action=action,
            who=actor.label,
            at=clock.now().timestamp(),
            keys=keys,
        )
    )


def announce(rental: Rental) -> None:
    """Say that something about the rental has changed."""
    outbox.publish(
        RentalChanged(
            rental_id=str(rental.pk),
            renter_id=str(rental.renter_id),
            host_id=str(rental.node.owner_id),
        )
    )


def was_lost(rental: Rental) -> bool:
    """Whether what is unreachable is so because its machine was lost, and not because it did not answer."""
    return rental.missed_probes < MISSES_UNTIL_UNREACHABLE
