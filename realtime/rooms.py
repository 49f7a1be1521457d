"""Names of rooms. Pure. A room of one person: their rentals, machines and money, nobody else's."""

from __future__ import annotations


def room_of_user(user_id: str) -> str:
    """Return the channel-layer group of one person's browsers."""
    return f"user.{user_id}"
