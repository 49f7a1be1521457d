"""What a store of telemetry can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nodes.telemetry.lines import Series


class TelemetryAway(Exception):
    """The store does not answer or is full; what was to be written is lost, and that is allowed."""


class Point(NamedTuple):
    """The mean of one step, which begins at `at` (epoch seconds)."""

    at: int
    value: float


class TelemetryStore(Protocol):
    """Write lines, read one series. Both may block and raise `TelemetryAway`."""

    def write(self, lines: Sequence[str]) -> None:
        """Keep lines of InfluxDB's line protocol, time in whole seconds."""

    def read(self, series: Series, *, start: int, end: int, step: int) -> list[Point]:
        """Return the means of [start, end), epoch seconds, one for each `step` seconds that has any."""
