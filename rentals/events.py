"""What happens to rentals. Ids only."""

from __future__ import annotations

from typing import ClassVar

from core.events import Event


class RentalChanged(Event, frozen=True, kw_only=True):
    """Something a page shows about a rental has changed."""

    topic: ClassVar[str] = "rentals.changed"
    rental_id: str
    renter_id: str
    host_id: str
