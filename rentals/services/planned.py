"""When a running rental stops by itself: known in advance, to the second, so that it can be warned and saved."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.conf import settings

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, outbox
from nodes import services as nodes
from rentals.events import RentalLimitNear
from rentals.models import Rental
from rentals.services.life import reason
from rentals.services.moving import announce
from rentals.services.terms import unanswered

# Between the sweep that tells a machine and the command running there.
SLACK_SECONDS = 2
# How long before its end date a renter is told of it.
WARN_OF_END = dt.timedelta(hours=1)
# And of its stop for idleness: so long before, at most half of what it may idle.
WARN_OF_IDLE = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Planned:
    """A stop: `at` is the second (epoch) at which the bill ends."""

    at: int
    end: dict[str, str]


def planned_stop(rental: Rental, now: int) -> Planned | None:
    """Return the nearest stop that follows from a running rental's end date, cap and idleness, if any."""
    plans = []
    if rental.ends_at is not None:
        words = "It reached the end that you set. The disk is kept."
        plans.append(Planned(clock.to_epoch(rental.ends_at), reason("end_reached", words)))
    if rental.spend_cap is not None:
        at = _cap_instant(rental, rental.spend_cap, now)
        if at is not None:
            words = "It reached the cap that you set. The disk is kept."
            plans.append(Planned(at, reason("cap_reached", words)))
    if (idle_end := idle_until(rental)) is not None:
        words = f"It did next to nothing for {rental.idle_minutes} min. The disk is kept."
        # What was used while nobody had decided yet stays used: no earlier than now.
        plans.append(Planned(max(now, clock.to_epoch(idle_end)), reason("idle", words)))
    return min(plans, key=lambda plan: plan.at, default=None)


def idle_until(rental: Rental) -> dt.datetime | None:
    """Return when an idle rental stops unless it works before; None when it is not idle, or may be."""
    if rental.idle_minutes is None or rental.idle_since is None or rental.unreachable_since:
        return None
    return rental.idle_since + dt.timedelta(minutes=rental.idle_minutes)


def _cap_instant(rental: Rental, cap: int, now: int) -> int | None:
    """Return the last second that fits under the cap: what is above it is taken back."""
    bill = billing.bill_of(subject_id=rental.pk)
    rate = sum(line.rate for line in bill.lines if line.ended is None)
    if rate:
        return now + (cap - bill.total) // rate
    return now if bill.total >= cap else None


def save_in_time(actor: Actor, rental: Rental, plan: Planned | None, now: int) -> None:
    """Have a locked rental's checkpoint command run before its next stop, the empty wallet's included."""
    if not rental.checkpoint_command:
        return
    runs_out = billing.balance_of(owner_id=rental.renter_id).runs_out
    instants = [] if runs_out is None else [runs_out]
    if plan is not None:
        instants.append(plan.at)
    if unanswered(rental) is not None:
        instants.append(clock.to_epoch(rental.price_until))
    lead = rental.checkpoint_seconds + round(settings.DC.reconcile_seconds) + SLACK_SECONDS
    due = bool(instants) and now >= min(instants) - lead
    if due and rental.checkpointed_at is None:
        rental.checkpointed_at = clock.now()
        rental.save(update_fields=["checkpointed_at"])
        nodes.checkpoint_workload(
            actor=actor,
            workload_id=rental.workload_id,
            command=rental.checkpoint_command,
            seconds=rental.checkpoint_seconds,
        )
        announce(rental)
    elif not due and rental.checkpointed_at is not None:
        # The stop has been put off: the next one is saved again.
        rental.checkpointed_at = None
        rental.save(update_fields=["checkpointed_at"])


def warn_of_cap(actor: Actor, rental: Rental, percent: int) -> None:
    """Tell once that a locked rental has used `percent` of its cap."""
    if rental.spend_cap is None or rental.cap_warned_at is not None:
        return
    spent = billing.bill_of(subject_id=rental.pk).total
    if spent * 100 < rental.spend_cap * percent:
        return
    rental.cap_warned_at = clock.now()
    rental.save(update_fields=["cap_warned_at"])
    audit.record(
        actor=actor,
        verb="rental.cap_near",
        subject_type="rental",
        subject_id=rental.pk,
        data={"spent": spent, "cap": rental.spend_cap},
    )
    outbox.publish(
        RentalLimitNear(
            rental_id=str(rental.pk),
            at=rental.cap_warned_at.timestamp(),
            spent=spent,
            cap=rental.spend_cap,
        )
    )
    announce(rental)


def warn_of_idleness(rental: Rental) -> None:
    """Tell once that a locked rental is about to stop because it does next to nothing."""
    until = idle_until(rental)
    if until is None or rental.idle_since is None or rental.idle_warned_at is not None:
        return
    now = clock.now()
    if now < until - min(WARN_OF_IDLE, (until - rental.idle_since) / 2):
        return
    rental.idle_warned_at = now
    rental.save(update_fields=["idle_warned_at"])
    outbox.publish(
        RentalLimitNear(
            rental_id=str(rental.pk),
            at=now.timestamp(),
            end=clock.to_epoch(until),
            idle_since=clock.to_epoch(rental.idle_since),
        )
    )


def warn_of_end(rental: Rental) -> None:
    """Tell once that a locked rental reaches its end date within the hour."""
    now = clock.now()
    if rental.ends_at is None or rental.end_warned_at or rental.ends_at - now > WARN_OF_END:
        return
    rental.end_warned_at = now
    rental.save(update_fields=["end_warned_at"])
    end = clock.to_epoch(rental.ends_at)
    outbox.publish(RentalLimitNear(rental_id=str(rental.pk), at=now.timestamp(), end=end))
