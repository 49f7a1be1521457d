"""How a rental's life goes on by itself. Locks go rental, node, workload, wallet, always in that direction."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from core import clock
from nodes import services as nodes
from nodes.machine import Wish, WorkloadState
from nodes.models import Workload
from rentals import reasons
from rentals.machine import COMING_UP, DISK_KEPT, State
from rentals.models import Rental
from rentals.services.brake import note_failed_start, note_slow_start, note_stop
from rentals.services.crediting import credit_fault
from rentals.services.meters import close_compute, close_storage, open_meters
from rentals.services.moving import announce, is_ending, lock_rental, move


@dataclass(frozen=True)
class Seen:
    """What a decision about a rental was made on, read without a lock: its phase, what was wished, what was seen."""

    phase: tuple[str, dt.datetime]
    wished: tuple[str, int, int]
    observed: tuple[str, dt.datetime | None, str]


def seen_of(rental: Rental, workload: Workload) -> Seen:
    """Return what a reconciler has before its eyes; traffic and the progress of a download are no part of it."""
    restarts = int(workload.spec.get("restarts", 0))
    return Seen(
        (rental.state, rental.phase_since),
        (workload.wish, workload.generation, restarts),
        (workload.observed_state, workload.state_since, str(workload.observed.get("code") or "")),
    )


def _still(rental: Rental, seen: Seen | None) -> bool:
    """Whether what was decided on is still so, now that the rental is locked; its workload stays so from here on.

    None: whoever decided holds the lock. Otherwise what has changed meanwhile is looked at again by the next step.
    """
    if seen is None:
        return True
    return seen == seen_of(rental, nodes.lock_workload(workload_id=rental.workload_id))


def reason(code: str, message: str) -> dict[str, str]:
    """Return why something ended: whose doing, a stable code, words, whose fault, what was given back."""
    found = reasons.known(code)
    return {
        "party": found.party,
        "code": found.code,
        "message": message,
        "fault": found.fault,
        "refund": "0.00",
    }


def deadline_of(rental: Rental) -> dt.datetime | None:
    """Return until when a rental's phase must be over; None for a phase that may last."""
    env = settings.DC
    limits = {
        State.REQUESTED: env.reserve_deadline_seconds,
        State.RESERVED: env.reserve_deadline_seconds,
        State.PULLING: env.pull_deadline_seconds,
        State.STARTING: env.start_deadline_seconds,
        State.STOPPING: env.stop_deadline_seconds,
    }
    seconds = limits.get(State(rental.state))
    return None if seconds is None else rental.phase_since + dt.timedelta(seconds=seconds)


def stand_still(actor: Actor, rental: Rental, end: dict[str, str], at: int | None) -> None:
    """Stop a locked rental's machine and keep its disk; work is billed up to `at` (None: now)."""
    workload = nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.STOPPED, reason=end["code"]
    )
    billed = close_compute(actor, rental, at)
    credit_fault(actor, rental, end, at)
    # Until it is seen stopped, whoever turns the stop round has used it all the time.
    runs_on = billed is not None and workload.observed_state == WorkloadState.RUNNING
    billed_until = clock.from_epoch(billed) if runs_on and billed is not None else None
    move(actor, rental, State.STOPPING, end=end, billed_until=billed_until)


def wind_up(actor: Actor, rental: Rental, end: dict[str, str], at: int | None) -> None:
    """End a locked rental and delete its disk; everything is billed up to `at` (None: now)."""
    workload = nodes.wish_workload(
        actor=actor, workload_id=rental.workload_id, wish=Wish.ABSENT, reason=end["code"]
    )
    close_compute(actor, rental, at)
    close_storage(actor, rental, at)
    credit_fault(actor, rental, end, at)
    if State(rental.state) is State.STOPPING:
        rental.end = end
        rental.save(update_fields=["end"])
        announce(rental)
    else:
        move(actor, rental, State.STOPPING, end=end)
    if workload.observed_state == "absent":
        move(actor, rental, State.ENDED, ended_at=clock.now())


@transaction.atomic
def fail_rental(
    *,
    actor: Actor,
    rental_id: uuid.UUID,
    code: str,
    message: str,
    at: int | None = None,
    seen: Seen | None = None,
) -> None:
    """Take down a rental that cannot go on, billed up to `at` (epoch seconds; now), if it is still as it was `seen`.

    One that has never run ends and costs nothing. One that has run keeps its disk, if there still is
    one: what somebody made there is not ours to delete.
    """
    rental = lock_rental(rental_id)
    if State(rental.state) in {State.STOPPING, State.STOPPED, State.ENDED}:
        return
    if not _still(rental, seen):
        return
    if State(rental.state) in COMING_UP:
        note_failed_start(rental, code)
    end = reason(code, message)
    if rental.running_since is not None and reasons.known(code).disk != "deleted":
        stand_still(actor, rental, end, at)
    else:
        wind_up(actor, rental, end, at)


@transaction.atomic
def lose_disk(*, actor: Actor, rental_id: uuid.UUID, at: int, seen: Seen | None = None) -> None:
    """End a rental that stands still, as it was `seen`, and whose container is gone since `at` (epoch seconds)."""
    rental = lock_rental(rental_id)
    if State(rental.state) in DISK_KEPT and not is_ending(rental) and _still(rental, seen):
        gone = reason("host_removed", f"{rental.node.name} removed the container.")
        # Its renter had the disk deleted, and no other was made: that is why it ends.
        never_made = rental.end if rental.fresh else None
        wind_up(actor, rental, never_made or gone, at)


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
def mark_running(*, actor: Actor, rental_id: uuid.UUID, at: int, seen: Seen | None = None) -> None:
    """SSH answered through the public address at `at` (epoch seconds): billing starts, once, if it is as it was `seen`.

    The first time it starts now, and the brake remembers for how long its container ran before. One that has
    been usable before is billed from where a stop that was turned round or a restart had ended the bill, else
    from when its container was up with its address open: how long it then takes to let its renter in is its
    renter's own affair (ADR 15).
    """
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.STARTING or not _still(rental, seen):
        return
    instant = clock.from_epoch(at)
    up = min(at, _up_since(rental))
    first = rental.running_since is None
    if first:
        note_slow_start(rental, at - up)
    move(
        actor,
        rental,
        State.RUNNING,
        running_since=instant,
        last_probe=instant,
        probed_at=instant,
        missed_probes=0,
        missed_at=None,
        silent_probes=0,
        silent_since=None,
        fresh=False,
        billed_until=None,
        unreachable_since=None,
        end=None,
    )
    open_meters(actor, rental, at if first else up)


def _up_since(rental: Rental) -> int:
    """Return since when (epoch seconds) a start's container is up behind an open address, or is billed through."""
    if rental.billed_until is not None:
        return clock.to_epoch(rental.billed_until)
    up = Workload.objects.values_list("state_since", flat=True).get(pk=rental.workload_id)
    return clock.to_epoch(max(up or rental.phase_since, rental.phase_since))


@transaction.atomic
def mark_stopped(*, actor: Actor, rental_id: uuid.UUID, seen: Seen | None = None) -> None:
    """The agent says the container is stopped and its disk is kept, if it is still as it was `seen`."""
    rental = lock_rental(rental_id)
    if not _still(rental, seen):
        return
    workload = Workload.objects.get(pk=rental.workload_id)
    if State(rental.state) is State.STOPPING and workload.wish == Wish.STOPPED:
        note_stop(rental)
        move(actor, rental, State.STOPPED, unreachable_since=None, billed_until=None)
        # Its machine was lost meanwhile and is back: the disk costs again, from now on.
        open_meters(actor, rental, clock.epoch())


@transaction.atomic
def mark_gone(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """Nothing is left on the machine, or the machine is lost and nothing more can be billed."""
    rental = lock_rental(rental_id)
    if State(rental.state) is State.STOPPING and is_ending(rental):
        note_stop(rental)
        move(actor, rental, State.ENDED, ended_at=clock.now())
