"""Identifiers exist before the write, so that a retried write names the same row."""

from __future__ import annotations

import uuid


def new_id() -> uuid.UUID:
    """Return a fresh random identifier (UUID version 4)."""
    return uuid.uuid4()
