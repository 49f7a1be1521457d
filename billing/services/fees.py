"""What share of a renter's payments is the platform's, and from when on. In basis points."""

from __future__ import annotations

from django.conf import settings

from billing import metering
from core import clock


def fee_at(at: int) -> int:
    """Return the fee for what begins at `at` (epoch seconds); a meter keeps the fee it began with."""
    return metering.fee_of(base=settings.DC.fee_bps, schedule=settings.DC.fee_schedule, at=at)


def fees_told() -> list[tuple[int | None, int]]:
    """Return today's fee, and each that is announced with the second (epoch) from which it holds."""
    now = clock.epoch()
    later = [(since, bps) for since, bps in settings.DC.fee_schedule if since > now]
    return [(None, fee_at(now)), *later]
