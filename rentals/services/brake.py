"""How often a renter's starts may fail, and how long starts and stops may hold machines in a day: all of it is free."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from core import clock
from core.errors import RateLimited
from nodes.machine import WorkloadState
from nodes.models import Workload
from nodes.services import has_restarted
from rentals.machine import COMING_UP, State
from rentals.models import FailedStart, Rental

WINDOW = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
# What a renter's own image or command does; a host's or the platform's failures never count.
COUNTED = frozenset(
    {"ssh_silent", "container_exited", "oom_killed", "image_cannot_start", "cancelled_late"}
)
# Nobody can tell whose doing a slow or failing download is: only the time that it takes of a machine counts.
HELD = frozenset(
    {
        "cancelled",
        "pulling_timeout",
        "image_pull_failed",
        "image_missing",
        "image_login_refused",
        "registry_address_refused",
        "secret_gone",
    }
)
# A first start that answered late: nothing is billed from when its container is up until it answers, and its renter's
# image decides how long that is.
SLOW = "slow_start"
# A container that is told to stop has some seconds to do so, which nobody is billed for.
STOP = "slow_stop"
MOST_OF_A_STOP = 15
# Whoever changes his mind within this time has held nobody up.
QUICK_SECONDS = 60


def note_failed_start(rental: Rental, code: str) -> None:
    """Remember that a locked rental used its machine without being usable, if it may be its renter's doing."""
    first = rental.running_since is None
    seconds = int(
        (clock.now() - (rental.created_at if first else rental.phase_since)).total_seconds()
    )
    if code in COUNTED or (code in HELD and seconds > QUICK_SECONDS):
        _note(rental, code, max(0, seconds))


def note_slow_start(rental: Rental, seconds: int) -> None:
    """Remember for how long a container of a locked rental ran before its first start answered.

    No part of it is left out: whoever ends each rental after its first second would compute through just that part.
    """
    if seconds > 0:
        _note(rental, SLOW, seconds)


def note_stop(rental: Rental) -> None:
    """Remember for how long the container of a locked rental, which has run, resisted its stop.

    At most as long as an agent lets it: that a machine was away is not its renter's doing.
    """
    seconds = min(MOST_OF_A_STOP, clock.epoch() - clock.to_epoch(rental.phase_since))
    if rental.running_since is not None and seconds > 0:
        _note(rental, STOP, seconds)


def _note(rental: Rental, code: str, seconds: int) -> None:
    FailedStart.objects.create(
        renter_id=rental.renter_id, rental=rental, code=code, seconds=seconds, at=clock.now()
    )


def note_cancelled_start(rental: Rental) -> None:
    """Remember that a renter cancels a start of a locked rental whose container runs or is being downloaded."""
    workload = Workload.objects.get(pk=rental.workload_id)
    if workload.observed_state == WorkloadState.RUNNING and has_restarted(workload):
        note_failed_start(rental, "cancelled_late")
    elif State(rental.state) is State.PULLING:
        note_failed_start(rental, "cancelled")


def require_starts_left(renter_id: uuid.UUID) -> None:
    """Refuse another start after too many that failed within an hour, or too much unpaid time in a day.

    Raises RateLimited `failed_starts`, `starts_under_way`.
    """
    limit = settings.DC.failed_starts_per_hour
    recent = _within(renter_id, WINDOW)
    counted = recent.filter(code__in=COUNTED)
    instants = list(counted.order_by("-at").values_list("at", flat=True)[:limit])
    if len(instants) >= limit:
        raise RateLimited(
            "failed_starts",
            f"{limit} of your starts within an hour never answered to SSH. Look at the last words of "
            "their containers and mend the image or its command; you can start again "
            f"{_when(instants[-1] + WINDOW)}.",
        )
    _require_time_left(renter_id)


def _require_time_left(renter_id: uuid.UUID) -> None:
    limit = settings.DC.unpaid_start_seconds_per_day
    rows = _within(renter_id, DAY).order_by("at")
    held = list(rows.values_list("at", "seconds"))
    left = sum(seconds for _, seconds in held)
    if left < limit:
        _require_room(renter_id, limit - left)
        return
    again = clock.now()
    for instant, seconds in held:
        left, again = left - seconds, instant + DAY
        if left < limit:
            break
    raise RateLimited(
        "failed_starts",
        f"Starts and stops of yours have held machines for {limit // 60} minutes within a day before they answered to "
        "SSH, without ever doing so, or until they had stopped, at no charge. Use a smaller image, a faster registry, "
        "or a command that starts its SSH server first; you can start again "
        f"{_when(again)}.",
    )


def _require_room(renter_id: uuid.UUID, seconds: int) -> None:
    """Let no more starts be under way than may all fail at their deadline within `seconds`.

    Else whoever begins many at the same moment computes through all of them, whatever the limit.
    """
    each = max(1, settings.DC.start_deadline_seconds)
    first = Rental.objects.filter(renter_id=renter_id, running_since=None, state__in=COMING_UP)
    under_way = first.count()
    if under_way and under_way * each >= seconds:
        raise RateLimited(
            "starts_under_way",
            f"{under_way} of your starts have not answered to SSH yet, and no more than that may be under way at the "
            "same time: what runs before it answers costs nothing. Wait until one of them runs or ends.",
        )


def _within(renter_id: uuid.UUID, window: dt.timedelta) -> models.QuerySet[FailedStart]:
    """Return what counts now; what was written while the clock was ahead is not so yet, and never will be."""
    now = clock.now()
    return FailedStart.objects.filter(renter_id=renter_id, at__gt=now - window, at__lte=now)


def _when(instant: dt.datetime) -> str:
    return f"at {instant.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def forget_failed_starts() -> int:
    """Delete what no longer counts, and what was written while the clock was ahead; return how many."""
    now = clock.now()
    done, _ = FailedStart.objects.filter(Q(at__lte=now - DAY) | Q(at__gt=now)).delete()
    return done
