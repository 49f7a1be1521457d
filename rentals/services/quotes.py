"""What becomes of the quotes that nobody rented."""

from __future__ import annotations

import datetime as dt

from core import clock
from rentals.models import Quote

# Long after it has expired, so that whoever is late still reads why.
KEPT = dt.timedelta(days=1)
CHUNK = 5000


def forget_quotes() -> int:
    """Delete quotes that expired a day ago and became no rental; return how many."""
    done = 0
    old = Quote.objects.filter(expires_at__lt=clock.now() - KEPT, rental=None).order_by("pk")
    while some := list(old.values_list("pk", flat=True)[:CHUNK]):
        deleted, _ = Quote.objects.filter(pk__in=some, rental=None).delete()
        if not deleted:
            break
        done += deleted
    return done
