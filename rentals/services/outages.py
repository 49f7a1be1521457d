"""When a rental cannot be used through no wish of its renter: the meters stand still."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, outbox
from nodes.models import Node
from nodes.services import tunnels_back, tunnels_down
from rentals.events import RentalContact
from rentals.machine import State
from rentals.models import Rental
from rentals.probing import Sign
from rentals.services.life import fail_rental
from rentals.services.meters import open_meters, stop_meters
from rentals.services.moving import (
    MISSES_UNTIL_UNREACHABLE,
    announce,
    is_ending,
    lock_rental,
)

SILENCE = ["silent_probes", "silent_since"]
PROBES = ["missed_probes", "missed_at", "last_probe", "probed_at"]


@transaction.atomic
def pause_billing(*, actor: Actor, rental_id: uuid.UUID, at: int, until: int | None = None) -> None:
    """Stop the meters of a rental at `at` (epoch seconds), the last good sign of life of its machine.

    What ended after `at`, say because its renter stopped it before anybody knew, is paid back too. Meters
    that began at `until`, when the outage was over, go on.
    """
    rental = lock_rental(rental_id)
    _forget_silence(rental)
    if rental.unreachable_since is None:
        pause_locked(actor, rental, at, until)


def pause_locked(actor: Actor, rental: Rental, at: int, until: int | None = None) -> None:
    """Do it to a locked rental, whose node may be locked and whose wallet is not."""
    if rental.billed_until is not None:
        # Nobody saw it run through the outage.
        rental.billed_until = None
        rental.save(update_fields=["billed_until"])
    billing.take_back(actor=actor, subject_id=rental.pk, since=at, until=until)
    lines = billing.bill_of(subject_id=rental.pk).lines
    if not any(line.ended is None and (until is None or line.started < until) for line in lines):
        return
    stop_meters(actor, rental, at)
    rental.unreachable_since = clock.from_epoch(at)
    rental.save(update_fields=["unreachable_since"])
    _record(actor, rental, "rental.unreachable", at)


@transaction.atomic
def resume_billing(*, actor: Actor, rental_id: uuid.UUID, at: int) -> None:
    """Start the meters of a rental again at `at` (epoch seconds): it, or its machine, answers again."""
    rental = lock_rental(rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental) or rental.unreachable_since is None:
        return
    rental.unreachable_since = None
    rental.missed_probes, rental.missed_at = 0, None
    rental.save(update_fields=["unreachable_since", "missed_probes", "missed_at"])
    open_meters(actor, rental, at)
    _record(actor, rental, "rental.reachable", at)


def _record(actor: Actor, rental: Rental, verb: str, at: int) -> None:
    audit.record(
        actor=actor, verb=verb, subject_type="rental", subject_id=rental.pk, data={"at": at}
    )
    lost = verb == "rental.unreachable"
    outbox.publish(RentalContact(rental_id=str(rental.pk), lost=lost, at=at))
    announce(rental)


@transaction.atomic
def note_probe(*, actor: Actor, rental_id: uuid.UUID, sign: Sign, at: dt.datetime) -> None:
    """Write down a probe of a running rental through its public address, which began at `at`.

    A closed address is not its renter's doing: two misses, half a period apart at least, make it unreachable,
    unbilled from the last good probe or from the end of an outage of ours after it, and one answer heals it. A
    container that is silent behind an open address may be: it is billed, and stops when it was silent for
    `DC_SILENT_SECONDS` (ADR 15). What follows from the probe is done under the same lock: a restart or a stop comes
    before all of it or after. A probe older than the phase, or than one written down already, says nothing.
    """
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.RUNNING or _is_late(rental, at):
        return
    if sign is not Sign.ANSWERS and tunnels_down(host=rental.ssh_host):
        # Our own tunnel server is down: no fault of the machine, which goes on earning. The renter gets
        # it back from the platform when the outage is over.
        return
    if sign is Sign.CLOSED and _is_another_miss(rental, at):
        rental.missed_probes, rental.missed_at = rental.missed_probes + 1, at
    elif sign is Sign.ANSWERS:
        rental.missed_probes, rental.missed_at, rental.last_probe = 0, None, at
    open_since = _silent_since(rental, at)
    silent = sign is Sign.SILENT
    rental.silent_probes = rental.silent_probes + 1 if silent else 0
    rental.silent_since = open_since if silent else None
    rental.probed_at = at
    rental.save(update_fields=[*PROBES, *SILENCE])
    last_good = clock.to_epoch(rental.last_probe or at)
    since = clock.to_epoch(open_since)
    if sign is Sign.ANSWERS:
        resume_billing(actor=actor, rental_id=rental_id, at=since)
    elif sign is Sign.CLOSED and rental.missed_probes >= MISSES_UNTIL_UNREACHABLE:
        # What of that was an outage of ours is the platform's to pay: its host keeps its share (docs/credits.md).
        ours = tunnels_back(host=rental.ssh_host, before=at)
        ended = clock.to_epoch(ours) if ours else last_good
        pause_billing(actor=actor, rental_id=rental_id, at=max(last_good, ended))
    elif silent and (at - open_since).total_seconds() >= settings.DC.silent_seconds:
        _stop_silent(actor, rental, since)


def _is_late(rental: Rental, at: dt.datetime) -> bool:
    """Whether something newer is known; what is in the future was written before the clock was set back."""
    now = clock.now()
    return any(known and at < known <= now for known in (rental.phase_since, rental.probed_at))


def _is_another_miss(rental: Rental, at: dt.datetime) -> bool:
    """Whether a miss at `at` is not just the blip that was counted already, seen a second time."""
    blip = dt.timedelta(seconds=settings.DC.probe_seconds / 2)
    return rental.missed_at is None or abs(at - rental.missed_at) >= blip


def _silent_since(rental: Rental, at: dt.datetime) -> dt.datetime:
    """Return since when what is silent at `at` is: time that nobody watched is no silence."""
    env = settings.DC
    unseen = dt.timedelta(seconds=max(env.silent_seconds, 3 * env.probe_seconds))
    since, last = rental.silent_since, rental.probed_at
    if since is None or last is None or since > at or at - last > unseen:
        return at
    return since


def _stop_silent(actor: Actor, rental: Rental, since: int) -> None:
    """Stop what was silent for too long; an outage before it ended at `since`, when its address was open again."""
    # The stop needs its machine, and machines are locked before the wallet that the outage's end bills.
    Node.objects.lock().get(pk=rental.node_id)
    resume_billing(actor=actor, rental_id=rental.pk, at=since)
    fail_rental(
        actor=actor,
        rental_id=rental.pk,
        code="ssh_silent",
        message="Its container runs and no SSH server has answered in it. The disk is kept.",
    )


def _forget_silence(rental: Rental) -> None:
    rental.silent_probes, rental.silent_since = 0, None
    rental.save(update_fields=SILENCE)
