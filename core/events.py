"""The base of every event: past tense, frozen, ids and plain values only. Pure."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has happened. Subclasses set `topic`, e.g. `rentals.requested`."""

    topic: ClassVar[str]
