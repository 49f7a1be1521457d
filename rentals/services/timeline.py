"""Everything that happened to a rental, with who did it, in words. Read from the audit log alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from audit import services as audit
from audit.models import AuditEvent
from core import currency, money
from nodes.machine import WorkloadState
from rentals.models import Rental


@dataclass(frozen=True)
class Step:
    """One event: `by` is renter, staff, machine or platform, `who` its name."""

    at: dt.datetime
    verb: str
    words: str
    by: str
    who: str
    reason: dict[str, str] | None


WORDS = {
    "rental.reserved": "Reserved",
    "rental.pulling": "Downloading the image",
    "rental.starting": "Starting",
    "rental.running": "Running",
    "rental.limited": "Limits changed",
    "rental.cap_near": "Four fifths of the cap are used",
    "rental.raise_proposed": "Another price asked for",
    "rental.raise_accepted": "Price accepted",
    "rental.raise_refused": "Price refused",
    "rental.raise_lapsed": "Nothing came of a price that was asked for",
    "rental.price_changed": "Price changed",
    "rental.price_renewed": "Price locked for another term",
    "rental.reserve_used": "The disk now lives on its reserve",
    "rental.unreachable": "Not answering; the meter stopped",
    "rental.credited": "Credited for a fault",
    "rental.reachable": "Answering again",
    "rental.stopping": "Stopping",
    "rental.stopped": "Stopped, disk kept",
    "rental.ended": "Ended",
    "workload.keys_changed": "SSH keys changed",
    "rental.address_given_up": "Stopped for a week: its address was given up",
    "rental.address_changed": "It has a new address",
    "rental.checkpoint_set": "Checkpoint command changed",
    "workload.checkpoint": "The checkpoint command runs before the stop",
    "workload.checkpointed": "The checkpoint command",
    "workload.restarted": "Restart asked for",
    "workload.renewed": "A fresh container asked for; what was on the disk is deleted",
}
# What the machine itself says that a renter wants to know; the rest is told by the rental's own moves.
_SEEN = {
    WorkloadState.STOPPED.value: "The container has stopped",
    WorkloadState.FAILED.value: "The container has failed",
    WorkloadState.ABSENT.value: "Container and disk are gone from the machine",
}
_ROLES = {"user": "renter", "staff": "staff", "agent": "machine", "system": "platform"}


def timeline(rental: Rental) -> list[Step]:
    """Return what happened to a rental and to its container, oldest first."""
    events = audit.timeline(subject_id=rental.pk) + audit.timeline(subject_id=rental.workload_id)
    steps = [step_of(event) for event in sorted(events, key=lambda event: (event.at, event.pk))]
    return [step for step in steps if step is not None]


def step_of(event: AuditEvent) -> Step | None:
    """Return an event in words; None when it tells a renter nothing."""
    if event.verb == "workload.observed":
        words = _SEEN.get(event.data.get("state", ""), "")
    else:
        words = WORDS.get(event.verb, "")
    if not words:
        return None
    end = event.data.get("end") if event.verb in {"rental.stopping", "rental.ended"} else None
    more = _MORE.get(event.verb)
    if end:
        words = f"{words}: {end['message']}"
    elif more and (told := more(event.data)):
        words = f"{words}: {told}"
    by = _ROLES.get(event.actor_kind, event.actor_kind)
    return Step(event.at, event.verb, words, by, event.actor_label, end)


def _near(data: Mapping[str, Any]) -> str:
    return f"{currency.priced(data['spent'])} of {currency.priced(data['cap'])}"


def _saved(data: Mapping[str, Any]) -> str:
    code = data["exit_code"]
    return "its time was over before it ended" if code is None else f"it ended with exit {code}"


def _ready(data: Mapping[str, Any]) -> str:
    """Return how long the first start took beside what was predicted; empty when nothing was."""
    took, predicted = data.get("ready_ms"), data.get("predicted_ms")
    if took is None or predicted is None:
        return ""
    return f"predicted {predicted / 1000:.0f} s, was {took / 1000:.0f} s"


def _prices(data: Mapping[str, Any]) -> str:
    new, old = (currency.priced(sum(data[key]) * money.SECONDS_PER_HOUR) for key in _BOTH)
    return f"{new} an hour instead of {old}"


_BOTH = ("to", "from")


def _credited(data: Mapping[str, Any]) -> str:
    return f"{currency.priced(data['amount'])}, {data['evidence']['fault']}"


_MORE: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "rental.cap_near": _near,
    "workload.checkpointed": _saved,
    "rental.running": _ready,
    "rental.raise_proposed": _prices,
    "rental.raise_accepted": _prices,
    "rental.raise_refused": _prices,
    "rental.raise_lapsed": _prices,
    "rental.price_changed": _prices,
    "rental.credited": _credited,
}
