"""What follows when a wallet could not fill itself: a pause that doubles, then an end, and its owner is told.

Locks go deposit, rule: an automatic deposit is counted by whoever moves it out of flight, so once, whether the
provider's answer or its message came first.
"""

from __future__ import annotations

import datetime as dt

from accounts.actors import Actor
from audit import services as audit
from billing.events import TopUpFailed
from billing.models import AutoTopUp, Deposit
from core import clock, outbox

MOST_FAILURES = 5
FIRST_PAUSE = dt.timedelta(hours=1)


def count_decline(found: Deposit, why: str, *, for_good: bool = False) -> None:
    """Count that a locked automatic deposit was not paid, and pause its rule or (`for_good`) end it.

    A rule that its owner has stopped stays as it is.
    """
    rule = AutoTopUp.objects.lock().filter(owner_id=found.owner_id, enabled=True).first()
    if rule is None:
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
