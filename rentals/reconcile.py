"""Make each rental follow what its workload really does. By hint and by clock; one step at a time.

`advance` takes an id, re-reads the world, does what the facts call for and may be killed after any
line: every step is one guarded transaction, and the next run finds the next step. What it read may be over
when its step gets the locks: steps that cannot be taken back are told what was `seen`, and look again.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Exists, F, OuterRef, Q

from accounts.actors import Actor
from billing.models import Refund
from core import clock
from core.errors import DomainError
from nodes.machine import NodeStatus, Wish, WorkloadState
from nodes.models import Node, TunnelOutage, Workload
from nodes.services import has_restarted, note_settled, unsettled_outages
from rentals import credits, probing, reasons, services
from rentals.lobby import lobby
from rentals.machine import COMING_UP, DISK_KEPT, LIVE, State
from rentals.models import Rental, RentalQuerySet
from rentals.probing import Sign
from rentals.rounds import Still, always, looked_at
from rentals.services.life import Seen, seen_of
from rentals.services.presenting import ssh_port
from rentals.services.waiting import Start, is_overdue, is_up, waiting_for_ssh

log = logging.getLogger(__name__)

# How long to wait in the lobby for SSH when the agent has just said that the container is up, and how long
# the clock's round looks: it comes again soon.
SSH_PATIENCE_SECONDS = 4.0
SSH_GLANCE_SECONDS = 0.3
# After this many seconds a round begins no more looks: the next one goes on with the rest.
STARTS_ROUND_SECONDS = 20.0
PROBE_ROUND_SECONDS = 300.0
# How long a running rental may take to greet.
LOOK_SECONDS = 3.0
# How long frps may go on refusing an address, say because something else there has the port.
ADDRESS_PATIENCE_SECONDS = 10.0
# An agent says that a container is idle when it has been so for this many beats, about a minute.
IDLE_NEWS_BEATS = 12


def advance_workload(workload_id: uuid.UUID) -> None:
    """Advance the rental of this workload, if it has one; what then waits for SSH waits in the lobby."""
    rental_id = Rental.objects.filter(workload_id=workload_id).values_list("pk", flat=True).first()
    if rental_id is None:
        return
    advance(rental_id)
    for start in waiting_for_ssh(pk=rental_id):
        if not is_overdue(start.rental):
            lobby.enter(
                rental_id,
                of=(start.rental.renter_id, start.rental.node_id),
                wait=partial(_wait_for_ssh, start),
            )


def advance(rental_id: uuid.UUID) -> None:
    """Bring one rental a step closer to what its workload shows. Waits for nothing."""
    rental = Rental.objects.select_related("node", "version").get(pk=rental_id)
    workload = Workload.objects.get(pk=rental.workload_id)
    state = State(rental.state)
    if state in COMING_UP:
        _come_up(rental, workload)
    elif state is State.RUNNING:
        _watch(rental, workload)
    elif state in DISK_KEPT:
        _go_down(rental, workload)


def _come_up(rental: Rental, workload: Workload) -> None:
    seen = workload.observed_state
    system = Actor.system()
    if seen == WorkloadState.FAILED:
        _fail(rental, workload)
    elif seen == WorkloadState.ABSENT:
        _fail_removed(rental, workload)
    elif _is_shut_out(rental, workload):
        services.fail_rental(
            actor=system,
            rental_id=rental.pk,
            code="tunnel_refused",
            message="Your public address could not be opened on our side. Rent again for another one.",
            seen=seen_of(rental, workload),
        )
    elif is_overdue(rental):
        if not is_up(rental, workload):
            _give_up(rental, seen_of(rental, workload))
    elif seen == WorkloadState.PULLING:
        services.mark_pulling(actor=system, rental_id=rental.pk)
    elif seen == WorkloadState.STARTING or (
        seen == WorkloadState.RUNNING and has_restarted(workload)
    ):
        services.mark_starting(actor=system, rental_id=rental.pk)


def _give_up(rental: Rental, seen: Seen, sign: Sign = Sign.CLOSED) -> None:
    """Fail a start whose time is over; a container that runs behind an open address did its machine's part."""
    code, message = f"{rental.state}_timeout", f"{rental.node.name} took too long ({rental.state})."
    if sign is Sign.SILENT:
        code, message = "ssh_silent", "The container runs and no SSH server answers in it."
    services.fail_rental(
        actor=Actor.system(), rental_id=rental.pk, code=code, message=message, seen=seen
    )


def _is_shut_out(rental: Rental, workload: Workload) -> bool:
    refused = workload.observed.get("code") == "tunnel_refused"
    return refused and _waited(rental) > ADDRESS_PATIENCE_SECONDS


def _waited(rental: Rental) -> float:
    return (clock.now() - rental.phase_since).total_seconds()


def _fail(rental: Rental, workload: Workload) -> None:
    services.fail_rental(
        actor=Actor.system(),
        rental_id=rental.pk,
        code=str(workload.observed.get("code") or reasons.UNKNOWN),
        message=str(workload.observed.get("message") or "The container could not be started."),
        at=clock.to_epoch(workload.state_since) if workload.state_since else None,
        seen=seen_of(rental, workload),
    )


def _fail_removed(rental: Rental, workload: Workload) -> None:
    services.fail_rental(
        actor=Actor.system(),
        rental_id=rental.pk,
        code="host_removed",
        message=f"{rental.node.name} removed the container.",
        at=clock.to_epoch(workload.state_since) if workload.state_since else None,
        seen=seen_of(rental, workload),
    )


def _watch(rental: Rental, workload: Workload) -> None:
    if _is_seen_running(rental, workload):
        seen = clock.to_epoch(workload.state_since or clock.now())
        services.resume_billing(actor=Actor.system(), rental_id=rental.pk, at=seen)
    elif workload.observed_state == WorkloadState.RUNNING:
        _note_idle(rental, workload)
    elif workload.observed_state == WorkloadState.FAILED:
        _fail(rental, workload)
    elif workload.observed_state == WorkloadState.ABSENT:
        _fail_removed(rental, workload)


def _note_idle(rental: Rental, workload: Workload) -> None:
    since = None
    if workload.observed.get("idle"):
        age = dt.timedelta(seconds=IDLE_NEWS_BEATS * settings.DC.heartbeat_seconds)
        since = (workload.observed_at or clock.now()) - age
    if (since is None) != (rental.idle_since is None):
        services.note_idle(rental_id=rental.pk, since=since)


def _go_down(rental: Rental, workload: Workload) -> None:
    if workload.wish == Wish.STOPPED and workload.observed_state == WorkloadState.STOPPED:
        services.mark_stopped(
            actor=Actor.system(), rental_id=rental.pk, seen=seen_of(rental, workload)
        )
    elif workload.wish == Wish.STOPPED and workload.observed_state == WorkloadState.ABSENT:
        services.lose_disk(
            actor=Actor.system(),
            rental_id=rental.pk,
            at=clock.to_epoch(workload.state_since or clock.now()),
            seen=seen_of(rental, workload),
        )
    elif workload.wish == Wish.ABSENT and (
        workload.observed_state == WorkloadState.ABSENT
        or rental.node.status == NodeStatus.OFFLINE.value
    ):
        services.mark_gone(actor=Actor.system(), rental_id=rental.pk)


def _is_seen_running(rental: Rental, workload: Workload) -> bool:
    """Whether a lost machine's agent has reported, since it is back, that this was started again and runs.

    What ran through the loss costs again from the machine's first beat (`bridge_gap`).
    """
    since, seen = rental.unreachable_since, workload.state_since
    return (
        workload.observed_state == WorkloadState.RUNNING
        and rental.node.status != NodeStatus.OFFLINE.value
        and since is not None
        and seen is not None
        and seen > since
        and services.was_lost(rental)
    )


@contextmanager
def _each_for_itself(rental_id: uuid.UUID) -> Iterator[None]:
    """One stuck rental must not stop the others."""
    try:
        yield
    except (DomainError, DatabaseError):
        log.exception("rental %s is stuck", rental_id)


def sweep(still: Still = always) -> None:
    """Advance every rental that is on its way somewhere, each for itself, while the place is `still` ours."""
    on_the_way = [state.value for state in LIVE - {State.RUNNING, State.STOPPED}]
    rental_ids = Rental.objects.filter(state__in=on_the_way).order_by("pk")
    for rental_id in list(rental_ids.values_list("pk", flat=True)):
        if not still():
            return
        with _each_for_itself(rental_id):
            advance(rental_id)
    look_at_starts(still)


def look_at_starts(still: Still = always) -> None:
    """Look at every start whose container is up, and give up those whose time is over and that do not answer.

    Many at once, the oldest first: those that say nothing hold up nobody, and leave when their time is over.
    """
    for look in looked_at(waiting_for_ssh(), _glance, seconds=STARTS_ROUND_SECONDS):
        if not still():
            return
        start, sign = look.subject, look.found
        with _each_for_itself(start.rental.pk):
            if is_overdue(start.rental):
                _give_up(start.rental, start.seen, sign)
            elif sign is Sign.ANSWERS:
                _let_in(start)


def _glance(start: Start) -> Sign:
    host, port = start.rental.ssh_host, ssh_port(start.rental)
    if is_overdue(start.rental):
        return probing.look(host, port, timeout=SSH_GLANCE_SECONDS)
    answers = probing.wait_for_ssh(host, port, patience=SSH_GLANCE_SECONDS)
    return Sign.ANSWERS if answers else Sign.CLOSED


def _wait_for_ssh(start: Start) -> None:
    """Wait a little for a start that was just told to be up. Runs in the lobby."""
    with _each_for_itself(start.rental.pk):
        host, port = start.rental.ssh_host, ssh_port(start.rental)
        if probing.wait_for_ssh(host, port, patience=SSH_PATIENCE_SECONDS):
            _let_in(start)


def _let_in(start: Start) -> None:
    """SSH answered this start: it runs, unless it has become another one meanwhile."""
    services.mark_running(
        actor=Actor.system(), rental_id=start.rental.pk, at=clock.epoch(), seen=start.seen
    )


def probe_running(still: Still = always) -> None:
    """Look at every running rental through its public address, while the place is `still` ours.

    Many at once: one that accepts and says nothing takes the whole time of a look, and holds up no other.
    Those that were not looked at for longest come first.
    """
    running = Rental.objects.filter(state=State.RUNNING.value).select_related("version", "node")
    there = running.exclude(node__status=NodeStatus.OFFLINE.value)
    there = there.order_by(F("probed_at").asc(nulls_first=True), "pk")
    for look in looked_at(there, _probe, seconds=PROBE_ROUND_SECONDS):
        if not still():
            return
        with _each_for_itself(look.subject.pk):
            services.note_probe(
                actor=Actor.system(), rental_id=look.subject.pk, sign=look.found, at=look.at
            )
            advance(look.subject.pk)


def _probe(rental: Rental) -> Sign:
    return probing.look(rental.ssh_host, ssh_port(rental), timeout=LOOK_SECONDS)


def settle_tunnel_outages() -> None:
    """Credit the rentals that an outage of our own tunnel server has shut off, once its seconds are posted.

    Dying at any line leaves the outage open, and the next run credits those that are missing.
    """
    horizon = dt.timedelta(seconds=settings.DC.settle_horizon_seconds)
    for outage in unsettled_outages(before=clock.now() - horizon):
        if _credit_all(outage):
            note_settled(outage_id=outage.pk)


def _credit_all(outage: TunnelOutage) -> bool:
    """Credit whom an outage has shut off; whether that was all of them."""
    assert outage.until is not None
    if outage.until - outage.since <= credits.TUNNELS_MAY_BE_DOWN:
        return True
    there = Rental.objects.used_at(outage.server.public_host, outage.since)
    # Who stopped or started it again meanwhile is billed through or is not, by what becomes of that.
    undecided = Q(billed_until__lt=outage.until)
    if clock.now() - outage.until > credits.TUNNELS_DECIDED_WITHIN:
        undecided = Q(pk=None)
    wait = list(there.filter(undecided).values_list("pk", flat=True))
    incident = credits.tunnels_incident(outage.pk)
    done = Refund.objects.filter(subject_id=OuterRef("pk"), kind="credit", incident=incident)
    due = there.exclude(pk__in=wait).exclude(Exists(done))
    for rental_id in list(due.values_list("pk", flat=True)):
        services.credit_tunnels(actor=Actor.system(), rental_id=rental_id, outage_id=outage.pk)
    return not wait


def pause_node(node_id: uuid.UUID, last_beat: int) -> None:
    """Stop every meter on a lost node at its last beat: nothing is billed that nobody can see.

    News of a loss that is over change nothing: `bridge_gap` mends the whole gap.
    """
    node = Node.objects.get(pk=node_id)
    if node.last_beat is not None and clock.to_epoch(node.last_beat) > last_beat:
        return
    _pause(node_id, last_beat, None)


def _pause(node_id: uuid.UUID, last_beat: int, first_beat: int | None) -> None:
    # What has ended since was billed for seconds that nobody saw, too.
    since = clock.from_epoch(last_beat)
    billed = Rental.objects.filter(Q(ended_at=None) | Q(ended_at__gte=since), node_id=node_id)
    for rental_id in billed.order_by("pk").values_list("pk", flat=True):
        services.pause_billing(
            actor=Actor.system(), rental_id=rental_id, at=last_beat, until=first_beat
        )
    stopping = _on(node_id).filter(state=State.STOPPING.value)
    for rental_id in stopping.values_list("pk", flat=True):
        advance(rental_id)


def bridge_gap(node_id: uuid.UUID, last_beat: int, first_beat: int) -> None:
    """Take [last_beat, first_beat) of a node that is back off every bill, whoever noticed it when.

    Disks cost again from its first beat, and so does what its agent sees running. What it does not see
    running waits until it does, and what had stopped to answer before until it answers (`note_probe`).
    """
    _pause(node_id, last_beat, first_beat)
    for rental in _on(node_id).filter(unreachable_since__isnull=False):
        workload = Workload.objects.get(pk=rental.workload_id)
        runs = workload.observed_state == WorkloadState.RUNNING
        if rental.state != State.RUNNING or (runs and services.was_lost(rental)):
            services.resume_billing(actor=Actor.system(), rental_id=rental.pk, at=first_beat)


def _on(node_id: uuid.UUID) -> RentalQuerySet:
    return Rental.objects.filter(node_id=node_id).exclude(state=State.ENDED.value).order_by("pk")


def turn_prices() -> None:
    """Let the prices whose lock has ended change, or stop what did not accept them, at exactly that second."""
    for rental_id in list(Rental.objects.price_due().order_by("pk").values_list("pk", flat=True)):
        with _each_for_itself(rental_id):
            services.review_price(actor=Actor.system(), rental_id=rental_id)


def review_prices() -> None:
    """Tell higher prices in time, and let go of what nobody has to answer any more."""
    for rental_id in list(
        Rental.objects.price_unsettled().order_by("pk").values_list("pk", flat=True)
    ):
        with _each_for_itself(rental_id):
            services.review_price(actor=Actor.system(), rental_id=rental_id)


def enforce_limits() -> None:
    """Stop what has reached the end, the cap or the idleness that its renter set, at exactly that second."""
    for rental_id in list(Rental.objects.with_plans().order_by("pk").values_list("pk", flat=True)):
        with _each_for_itself(rental_id):
            services.enforce_limits(actor=Actor.system(), rental_id=rental_id)
