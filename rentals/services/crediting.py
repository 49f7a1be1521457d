"""Credits for faults: posted in the transaction that takes the rental down, with the evidence."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from billing.models import Bearer, Refund
from core import clock, money
from nodes.models import TunnelOutage
from rentals import credits
from rentals.machine import State
from rentals.models import Rental
from rentals.services.moving import lock_rental, was_lost


@transaction.atomic
def credit_tunnels(*, actor: Actor, rental_id: uuid.UUID, outage_id: uuid.UUID) -> None:
    """Give back what a rental paid while the platform's own tunnel server was down; the platform pays. Once."""
    rental = lock_rental(rental_id)
    outage = TunnelOutage.objects.select_related("server").get(pk=outage_id)
    assert outage.until is not None
    since, until = clock.to_epoch(outage.since), clock.to_epoch(outage.until)
    lines = billing.bill_of(subject_id=rental.pk).lines
    most = _most(rental, lines, since, until)
    if not most:
        return
    made = billing.credit_fault(
        actor=actor,
        subject_id=rental.pk,
        incident=credits.tunnels_incident(outage.pk),
        since=since,
        until=until,
        kinds=("compute", "storage"),
        reason="Our tunnel server was down, so your rental could not be reached. We pay for that time.",
        evidence={
            "fault": credits.TUNNELS,
            "outage": str(outage.pk),
            "server": outage.server.name,
            "looks": outage.looks,
            "error": outage.error,
        },
        borne_by=Bearer.PLATFORM,
        most=most,
    )
    if made is not None:
        _record(actor, rental, made)


def _most(rental: Rental, lines: Sequence[billing.BillLine], since: int, until: int) -> int:
    """Return how much (nano-units) the platform gives back at most of what a rental used in [since, until).

    Its host keeps its share, so a host and a renter who are friends could agree on any price once they see that
    an outage has begun: what was running then counts, at the price of that second and with a limit.
    """
    card = money.rate_from_hourly(settings.DC.tunnel_credit_most_hourly)
    limits = {"compute": card * max(rental.gpu_count, 1), "storage": card}
    rates = {
        line.kind: min(line.rate, limits[line.kind])
        for line in lines
        if line.started <= since and (line.ended is None or line.ended > since)
    }
    if "compute" not in rates:
        return 0
    return sum(
        min(line.rate, rates.get(line.kind, 0))
        * max(0, min(until if line.ended is None else line.ended, until) - max(line.started, since))
        for line in lines
    )


def credit_fault(actor: Actor, rental: Rental, end: dict[str, str], at: int | None) -> None:
    """Give a locked rental's renter back what the rules say; `end` is why it goes down, at `at` (now).

    Its meters are closed. Once per incident: the fault and the second at which it happened.
    """
    lost_since = rental.unreachable_since
    rule = credits.rule_of(
        code=end["code"],
        has_run=rental.running_since is not None,
        machine_lost=lost_since is not None and was_lost(rental),
        works=State(rental.state) is State.RUNNING,
        has_disk=not rental.fresh,
    )
    if rule is None:
        return
    until = clock.to_epoch(lost_since) if lost_since else at or clock.epoch()
    beat = rental.node.last_beat
    made = billing.credit_fault(
        actor=actor,
        subject_id=rental.pk,
        incident=f"{rule.fault}:{until}",
        since=until - rule.seconds,
        until=until,
        kinds=rule.kinds,
        reason=f"{rule.when} {end['message']}",
        evidence={
            "fault": rule.fault,
            "code": end["code"],
            "machine": str(rental.node_id),
            "last_beat": clock.to_epoch(beat) if beat else None,
            "last_probe": clock.to_epoch(rental.last_probe) if rental.last_probe else None,
            "state": State(rental.state).value,
        },
    )
    if made is not None:
        end["refund"] = money.decimal_string(made.amount)
        _record(actor, rental, made)


def _record(actor: Actor, rental: Rental, made: Refund) -> None:
    audit.record(
        actor=actor,
        verb="rental.credited",
        subject_type="rental",
        subject_id=rental.pk,
        data={"amount": made.amount, "refund": str(made.pk), "evidence": made.evidence},
    )
