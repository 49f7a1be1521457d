"""Why a rental costs what it costs: every line of its bill with the events that began and ended it.

A line is one interval at the locked rate (billing derives it from the audit log). Between the lines lies
what was not billed, with the evidence for it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from audit import services as audit
from audit.models import AuditEvent
from billing import services as billing
from billing.services import Charge
from core import clock
from rentals.models import Rental
from rentals.services.timeline import Step, step_of

KINDS = ("compute", "storage")
# The event of a meter and the event of the rental that caused it are written by one transaction.
NEAR = dt.timedelta(seconds=2)
_BEGINS = (
    "rental.running",
    "rental.reachable",
    "rental.stopped",
    "rental.starting",
    "rental.price_changed",
)
_ENDS = (
    "rental.unreachable",
    "rental.stopping",
    "rental.ended",
    "rental.starting",
    "rental.reserve_used",
    "rental.price_changed",
)
_OF_MACHINE = ("node.suspect", "node.offline", "node.session_opened")
_NOT_YET = "Not usable yet: nothing is billed until it answers through its public address."
_SHORTENED = "Its machine was not heard of, which became known only afterwards."


@dataclass(frozen=True)
class Line:
    """One charge, and who or what began and ended it; None when nothing of the rental says so."""

    charge: Charge
    opened_by: Step | None
    closed_by: Step | None

    @property
    def ended_words(self) -> str:
        """Return why it ended, in words; nothing while it goes on."""
        if self.charge.closed is None:
            return ""
        return self.closed_by.words if self.closed_by else _SHORTENED


@dataclass(frozen=True)
class Evidence:
    """What somebody saw: `at` is when it was, `noticed` when it was written down."""

    words: str
    at: dt.datetime
    noticed: dt.datetime


@dataclass(frozen=True)
class Gap:
    """An interval (epoch seconds) that was not billed; `end` is None while it lasts."""

    kind: str
    start: int
    end: int | None
    words: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Explained:
    """A whole bill at `as_of` (epoch seconds); amounts in nano-units. total = posted + on_the_line."""

    rental_id: uuid.UUID
    currency: str
    as_of: int
    lines: tuple[Line, ...]
    gaps: tuple[Gap, ...]
    total: int
    posted: int
    on_the_line: int
    host_share: int
    fee: int
    agrees: bool


def explain(rental: Rental) -> Explained:
    """Return every line of a rental's bill, and every gap in it, with the events behind them."""
    charges = billing.derive_charges(subject_id=rental.pk)
    events = audit.timeline(subject_id=rental.pk) + audit.timeline(subject_id=rental.workload_id)
    told = [(event, step) for event in events if (step := step_of(event)) is not None]
    lines = tuple(_line(charge, told) for charge in charges)
    total = sum(charge.amount for charge in charges)
    share = sum(charge.host_share for charge in charges)
    return Explained(
        rental_id=rental.pk,
        currency=charges[0].currency if charges else billing.currencies()[0],
        as_of=clock.epoch(),
        lines=lines,
        gaps=tuple(_gaps(rental, lines, events)),
        total=total,
        posted=sum(charge.posted.amount for charge in charges),
        on_the_line=sum(charge.on_the_line for charge in charges),
        host_share=share,
        fee=total - share,
        agrees=all(charge.agrees for charge in charges),
    )


def _line(charge: Charge, told: Sequence[tuple[AuditEvent, Step]]) -> Line:
    last = charge.closings[-1] if charge.closings else None
    return Line(charge, _cause(charge.opening, told, _BEGINS), _cause(last, told, _ENDS))


def _cause(
    event: AuditEvent | None, told: Sequence[tuple[AuditEvent, Step]], usual: Sequence[str]
) -> Step | None:
    """Return what happened to the rental in the instant of a meter's event, the usual causes first."""
    if event is None:
        return None
    near = [(abs(other.at - event.at), step) for other, step in told]
    near = [(distance, step) for distance, step in near if distance <= NEAR]
    if not near:
        return None

    def rank(found: tuple[dt.timedelta, Step]) -> tuple[bool, dt.timedelta, int]:
        distance, step = found
        known = step.verb in usual
        return (not known, distance, usual.index(step.verb) if known else 0)

    return min(near, key=rank)[1]


def _gaps(rental: Rental, lines: Sequence[Line], events: Sequence[AuditEvent]) -> list[Gap]:
    rates = {"compute": rental.compute_rate, "storage": rental.storage_rate}
    seen = _evidence(rental, events)
    found: list[Gap] = []
    for kind in KINDS:
        mine = [line for line in lines if line.charge.kind == kind]
        # What is free has no lines, and so no gaps between them.
        if mine or rates[kind]:
            found += _gaps_between(rental, kind, mine, seen)
    return sorted(found, key=lambda gap: (gap.start, gap.kind))


def _gaps_between(
    rental: Rental, kind: str, lines: Sequence[Line], seen: Sequence[Evidence]
) -> list[Gap]:
    over = None if rental.ended_at is None else clock.to_epoch(rental.ended_at)
    starts = [clock.to_epoch(rental.created_at), *(line.charge.closed for line in lines)]
    ends = [*(line.charge.opened for line in lines), over]
    words = [_NOT_YET, *(line.ended_words for line in lines)]
    return [
        Gap(kind, start, end, why, _within(seen, start, end))
        for start, end, why in zip(starts, ends, words, strict=True)
        if start is not None and (end is None or end > start)
    ]


def _within(seen: Sequence[Evidence], start: int, end: int | None) -> tuple[Evidence, ...]:
    """Return what was seen at the ends of a gap: the last sign of life before it, the first after it."""
    return tuple(
        each
        for each in seen
        if clock.to_epoch(each.at) == start or (end is not None and clock.to_epoch(each.at) == end)
    )


def _evidence(rental: Rental, events: Sequence[AuditEvent]) -> list[Evidence]:
    """Return every sign of life that bounds an outage, of the rental's address and of its machine."""
    found = [
        Evidence(_SEEN[event.verb], clock.from_epoch(event.data["at"]), event.at)
        for event in events
        if event.verb in _SEEN
    ]
    machine = audit.timelines(subject_ids=[rental.node_id], verbs=_OF_MACHINE)[rental.node_id]
    for event in machine:
        if event.verb == "node.session_opened":
            found.append(Evidence("The machine connected again", event.at, event.at))
        else:
            beat = dt.datetime.fromisoformat(event.data["last_beat"])
            found.append(Evidence("The machine's last beat", beat, event.at))
    return sorted(found, key=lambda each: (each.at, each.noticed))


_SEEN = {
    "rental.unreachable": "The last good sign of life",
    "rental.reachable": "The first good sign of life",
}
