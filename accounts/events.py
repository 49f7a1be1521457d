"""What happens to people's accounts. Ids only."""

from __future__ import annotations

from typing import ClassVar

from core.events import Event


class NoticesChanged(Event, frozen=True, kw_only=True):
    """Somebody was told something, or has read it."""

    topic: ClassVar[str] = "accounts.notices_changed"
    user_id: str
