"""What share of a renter's payments is the platform's, and from when on. In basis points."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, metering
from billing.models import Account, AccountKind
from core import clock

# What the audit log knows the fees of this platform by; they are settings, and have no row of their own.
FEES_ID = uuid.UUID("6fee5000-0000-4000-8000-000000000001")


def fee_at(at: int) -> int:
    """Return the fee for what begins at `at` (epoch seconds); a meter keeps the fee it began with."""
    return metering.fee_of(base=settings.DC.fee_bps, schedule=settings.DC.fee_schedule, at=at)


def fees_told() -> list[tuple[int | None, int]]:
    """Return today's fee, and each that is announced with the second (epoch) from which it holds."""
    now = clock.epoch()
    later = [(since, bps) for since, bps in settings.DC.fee_schedule if since > now]
    return [(None, fee_at(now)), *later]


@transaction.atomic
def note_fees(*, actor: Actor) -> bool:
    """Record in the audit log what the fees are, when that is not what was recorded last; return whether it was.

    The fees are in the environment, so who changed them is known to the platform's operator only; since when they hold
    here is known by this.
    """
    fees = {
        "fee_bps": settings.DC.fee_bps,
        "schedule": [[since, bps] for since, bps in settings.DC.fee_schedule],
    }
    if _noted() == fees:
        return False
    # Two that look at once would both record it.
    platform = ledger.account_of(AccountKind.PLATFORM, None, settings.CURRENCY)
    Account.objects.lock().get(pk=platform.pk)
    before = _noted()
    if before == fees:
        return False
    audit.record(
        actor=actor,
        verb="fees.changed" if before else "fees.noted",
        subject_type="fees",
        subject_id=FEES_ID,
        data={**fees, "before": before},
    )
    return True


def _noted() -> dict[str, Any] | None:
    """Return the fees as they were recorded last; None: never."""
    told = audit.newest(subject_id=FEES_ID)
    return None if told is None else {name: told.data[name] for name in ("fee_bps", "schedule")}
