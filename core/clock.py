"""The one place that asks what time it is. UTC always; billing uses whole epoch seconds."""

from __future__ import annotations

import datetime as dt
import time


def now() -> dt.datetime:
    """Return the current instant, timezone-aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def epoch() -> int:
    """Return the current instant in whole seconds since 1970, rounded down."""
    return int(time.time())


def to_epoch(instant: dt.datetime) -> int:
    """Return `instant` in whole seconds since 1970, rounded down."""
    return int(instant.timestamp())


def from_epoch(seconds: int) -> dt.datetime:
    """Return the UTC instant of `seconds` since 1970."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
