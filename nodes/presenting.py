"""What doors show of machines and their offers, said once."""

from __future__ import annotations

from nodes.machine import HIDDEN, Hidden
from nodes.models import Offer


def hidden_out(offer: Offer | None) -> dict[str, str] | None:
    """Return why the search does not show this offer, as a code and a sentence; None when it does."""
    if offer is None:
        why = Hidden.OFFLINE
    elif offer.listed:
        return None
    else:
        why = Hidden(offer.hidden_because)
    return {"code": why.value, "sentence": HIDDEN[why]}
