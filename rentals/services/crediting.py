"""Credits for faults: posted in the transaction that takes the rental down, with the evidence."""

from __future__ import annotations

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, money
from rentals import credits
from rentals.machine import State
from rentals.models import Rental
from rentals.services.moving import was_lost


def credit_fault(actor: Actor, rental: Rental, end: dict[str, str], at: int | None) -> None:
    """Give a locked rental's renter back what the rules say; `end` is why it goes down, at `at` (now).

    Its meters are closed. Once per incident: the fault and the second at which it happened.
    """
    lost_since = rental.unreachable_since
    rule = credits.rule_of(
        code=end["code"],
        has_run=rental.running_since is not None,
        machine_lost=lost_since is not None and was_lost(rental),
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
        audit.record(
            actor=actor,
            verb="rental.credited",
            subject_type="rental",
            subject_id=rental.pk,
            data={"amount": made.amount, "refund": str(made.pk), "evidence": made.evidence},
        )
