"""How often a renter may start what never becomes usable: such starts are free, and hold machines of others."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings

from core import clock
from core.errors import RateLimited
from rentals.models import FailedStart, Rental

WINDOW = dt.timedelta(hours=1)
# What a renter's own image or command does; a host's or the platform's failures never count.
COUNTED = frozenset({"ssh_silent", "container_exited", "oom_killed"})


def note_failed_start(rental: Rental, code: str) -> None:
    """Remember that a locked rental used its machine without being usable, if it was its renter's doing."""
    if code in COUNTED:
        FailedStart.objects.create(
            renter_id=rental.renter_id, rental=rental, code=code, at=clock.now()
        )


def require_starts_left(renter_id: uuid.UUID) -> None:
    """Refuse another start after too many that failed within an hour. Raises RateLimited `failed_starts`."""
    limit = settings.DC.failed_starts_per_hour
    recent = FailedStart.objects.filter(renter_id=renter_id, at__gt=clock.now() - WINDOW)
    instants = list(recent.order_by("-at").values_list("at", flat=True)[:limit])
    if len(instants) < limit:
        return
    again = (instants[-1] + WINDOW).astimezone(dt.UTC).strftime("%H:%M UTC")
    raise RateLimited(
        "failed_starts",
        f"{limit} of your starts within an hour never answered to SSH. Look at the last words of their "
        f"containers and mend the image or its command; you can start again at {again}.",
    )


def forget_failed_starts() -> int:
    """Delete what no longer counts; return how many."""
    done, _ = FailedStart.objects.filter(at__lte=clock.now() - WINDOW).delete()
    return done
