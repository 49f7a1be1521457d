"""When a wallet no longer fills itself: after declines a pause that doubles, then an end; at once when money goes back.

Locks go deposit, rule: an automatic deposit is counted by whoever moves it out of flight, so once, whether the
provider's answer or its message came first.
"""

from __future__ import annotations

import datetime as dt
import uuid

from accounts.actors import Actor
from audit import services as audit
from billing.events import TopUpFailed
from billing.machine import DepositState
from billing.models import AutoTopUp, Deposit
from billing.services.moving import move_deposit
from core import clock, outbox

MOST_FAILURES = 5
FIRST_PAUSE = dt.timedelta(hours=1)
WENT_BACK = "Money that you had paid in went back. Switch it on again when you want it."


def stop_filling(actor: Actor, owner_id: uuid.UUID, why: str = "") -> None:
    """End a wallet's rule, and charge nothing more that was begun; harmless when there is none.

    What the provider was asked for already may have been charged: it waits for the provider, and counts.
    """
    expire_unasked(actor, begun_of(owner_id))
    for rule in AutoTopUp.objects.lock().filter(owner_id=owner_id, enabled=True):
        rule.enabled, rule.note = False, why
        rule.save(update_fields=["enabled", "note"])
        audit.record(
            actor=actor,
            verb="top_up.stopped",
            subject_type="top_up",
            subject_id=rule.pk,
            data={"owner": str(owner_id), "why": why},
        )


def begun_of(owner_id: uuid.UUID) -> list[Deposit]:
    """Return a person's automatic deposits that the provider has not answered for, locked."""
    begun = Deposit.objects.lock().filter(owner_id=owner_id, auto=True)
    return list(begun.filter(state=DepositState.CREATED.value).order_by("pk"))


def expire_unasked(actor: Actor, begun: list[Deposit]) -> None:
    """Give up locked deposits of which the provider has never been asked: no one else is sure to be unpaid."""
    for found in begun:
        if found.asked_at is None:
            move_deposit(actor, found, DepositState.EXPIRED)


def count_decline(found: Deposit, why: str, *, for_good: bool = False) -> None:
    """Count that a locked automatic deposit was not paid, and pause its rule or (`for_good`) end it.

    A rule that its owner has stopped stays as it is, and so does one that is newer than what was declined, unless it
    ends for good: then money may still be on its way.
    """
    rule = AutoTopUp.objects.lock().filter(owner_id=found.owner_id, enabled=True).first()
    if rule is None or (rule.since > found.created_at and not for_good):
        return
    rule.failures += 1
    rule.note = why[:200]
    rule.next_at = clock.now() + FIRST_PAUSE * 2 ** (rule.failures - 1)
    rule.enabled = rule.failures < MOST_FAILURES and not for_good
    rule.save(update_fields=["failures", "note", "next_at", "enabled"])
    audit.record(
        actor=Actor.system(),
        verb="top_up.failed",
        subject_type="top_up",
        subject_id=rule.pk,
        data={"owner": str(rule.owner_id), "failures": rule.failures, "why": rule.note},
    )
    outbox.publish(
        TopUpFailed(
            owner_id=str(rule.owner_id),
            deposit_id=str(found.pk),
            why=rule.note,
            tries=rule.failures,
            tries_again=rule.enabled,
            again=clock.to_epoch(rule.next_at),
        )
    )
