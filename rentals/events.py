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


class RentalMoved(Event, frozen=True, kw_only=True):
    """A rental has gone from one state to another at `at` (epoch seconds).

    `code` and `message` say why it stops or ended; `ran` whether it had been usable before.
    """

    topic: ClassVar[str] = "rentals.moved"
    rental_id: str
    frm: str
    to: str
    at: float
    ran: bool
    code: str = ""
    message: str = ""


class RentalContact(Event, frozen=True, kw_only=True):
    """A rental stops answering (`lost`) since `at`, in epoch seconds, or answers again."""

    topic: ClassVar[str] = "rentals.contact"
    rental_id: str
    lost: bool
    at: int


class RentalLimitNear(Event, frozen=True, kw_only=True):
    """A rental has used four fifths of its cap (`spent`, `cap` in nano-units), or ends at `end` within the hour.

    With `idle_since` it ends at `end` because it does next to nothing since then (epoch seconds).
    """

    topic: ClassVar[str] = "rentals.limit_near"
    rental_id: str
    at: float
    spent: int = 0
    cap: int = 0
    end: int = 0
    idle_since: int = 0


class RentalSteered(Event, frozen=True, kw_only=True):
    """Somebody has asked for a restart, a fresh container (`recreate`) or other keys (`keys`, so many)."""

    topic: ClassVar[str] = "rentals.steered"
    rental_id: str
    action: str
    who: str
    at: float
    keys: int = 0


class ReserveFreed(Event, frozen=True, kw_only=True):
    """A wallet is used up: these rentals' disks live on their reserve, until `until` (epoch seconds)."""

    topic: ClassVar[str] = "rentals.reserve_freed"
    owner_id: str
    rental_ids: list[str]
    until: int
    at: float


class RaiseProposed(Event, frozen=True, kw_only=True):
    """A host's higher price waits for the renter's answer; `change_id` is the PriceChange."""

    topic: ClassVar[str] = "rentals.raise_proposed"
    rental_id: str
    renter_id: str
    host_id: str
    change_id: str


class RaiseAnswered(Event, frozen=True, kw_only=True):
    """The renter has accepted or refused a higher price."""

    topic: ClassVar[str] = "rentals.raise_answered"
    rental_id: str
    renter_id: str
    host_id: str
    change_id: str
    accepted: bool


class PriceChanged(Event, frozen=True, kw_only=True):
    """Another price is in force for a rental, higher with consent or lower without."""

    topic: ClassVar[str] = "rentals.price_changed"
    rental_id: str
    renter_id: str
    host_id: str
    change_id: str
