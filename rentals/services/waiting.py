"""Starts of which only SSH is missing: what a look from outside may decide, and by what it was decided."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from core import clock
from nodes.machine import WorkloadState
from nodes.models import Workload
from nodes.services import has_restarted
from rentals.machine import State
from rentals.models import Rental
from rentals.services.life import Seen, deadline_of, seen_of


class Start(NamedTuple):
    """A start of which only SSH is missing, and what that was seen by."""

    rental: Rental
    seen: Seen


def is_up(rental: Rental, workload: Workload) -> bool:
    """Whether only SSH is waited for: its round looks for the last time when the time is over."""
    up = workload.observed_state == WorkloadState.RUNNING and has_restarted(workload)
    return rental.state == State.STARTING.value and up


def is_overdue(rental: Rental) -> bool:
    """Whether the time of a rental's phase is over."""
    deadline = deadline_of(rental)
    return deadline is not None and clock.now() > deadline


def waiting_for_ssh(**which: uuid.UUID) -> list[Start]:
    """Return the starts of which only SSH is missing, or whether it is this one, the oldest first."""
    rentals = Rental.objects.filter(state=State.STARTING.value, **which)
    rentals = rentals.select_related("version", "node").order_by("phase_since", "pk")
    workloads = Workload.objects.in_bulk([rental.workload_id for rental in rentals])
    both = [(rental, workloads[rental.workload_id]) for rental in rentals]
    return [Start(one, seen_of(one, workload)) for one, workload in both if is_up(one, workload)]
