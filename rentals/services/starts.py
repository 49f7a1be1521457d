"""How long a rental's first start takes, phase by phase, beside what was predicted."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import F

from core import clock
from rentals.machine import State
from rentals.models import Preflight, Rental, Start

_TIMED = {
    State.RESERVED: "reserved_ms",
    State.PULLING: "pulling_ms",
    State.STARTING: "starting_ms",
}


def open_start(rental: Rental, flight: Preflight | None) -> None:
    """Begin to time a rental's first start. Runs in the caller's transaction."""
    prediction = flight.prediction if flight else None
    seconds = prediction["seconds"] if prediction else None
    Start.objects.create(
        rental=rental,
        digest=flight.digest if flight else "",
        prediction=prediction,
        predicted_ms=None if seconds is None else round(1000 * seconds),
    )


def note_phase(rental: Rental, frm: State, to: State, since: dt.datetime) -> dict[str, Any]:
    """Write down how long a phase of the first start took; return what the audit log should know of its end."""
    if rental.running_since is not None or frm not in _TIMED:
        return {}
    now = clock.now()
    column = _TIMED[frm]
    more: dict[str, Any] = {column: F(column) + max(0, _ms(now - since))}
    if to is State.RUNNING:
        more["ready_ms"] = max(0, _ms(now - rental.created_at))
    if not Start.objects.filter(rental=rental).update(**more) or to is not State.RUNNING:
        return {}
    done = Start.objects.get(rental=rental)
    return {"ready_ms": done.ready_ms, "predicted_ms": done.predicted_ms}


def _ms(span: dt.timedelta) -> int:
    return round(span.total_seconds() * 1000)
