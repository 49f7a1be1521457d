"""Which transfers belong to which month, and what they make. A month is a window of ids and of time."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, F, Max, Q, Sum

from billing.models import Month, Side, Transfer

# How long closing a month may wait for those who post; afterwards the clock tries again.
PATIENCE_MS = 2000


@dataclass(frozen=True)
class Window:
    """The transfers of a month; `month` is None while it is open."""

    month: Month | None
    before: Month | None

    def covers(self) -> Q:
        """Return the condition of being in it."""
        inside = _up_to(self.month) if self.month else Q()
        return inside & ~_up_to(self.before) if self.before else inside


def _up_to(month: Month) -> Q:
    return Q(created_at__lt=month.ends_at, pk__lte=month.last_transfer)


@dataclass(frozen=True)
class Moved:
    """What came to and what left one person's money by one kind of transfer (nano-units)."""

    owner_id: uuid.UUID
    currency: str
    kind: str
    came: int
    went: int
    count: int


def last_transfer_of_all() -> int:
    """Return the highest id of a transfer, once everybody who was posting is done. Ends a transaction soon.

    Nobody can post until the caller's transaction ends, so an id up to this one never appears afterwards.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
        cursor.execute("LOCK TABLE billing_transfer IN SHARE MODE")
    return int(Transfer.objects.aggregate(last=Max("pk"))["last"] or 0)


def first_instant() -> dt.datetime | None:
    """Return when the first transfer was made."""
    return Transfer.objects.order_by("pk").values_list("created_at", flat=True).first()


def moved_in_month(*, side: Side, window: Window, owners: Iterable[uuid.UUID]) -> list[Moved]:
    """Return what moved for each of some people in a window; moves between their own accounts are none."""
    inside = Transfer.objects.filter(window.covers()).exclude(_within(side))
    ids = list(owners)
    found = []
    for end in ("dst", "src"):
        mine = inside.filter(
            **{f"{end}__kind__in": side.accounts, f"{end}__owner_id__in": ids}
        ).values(f"{end}__owner_id", f"{end}__currency", "kind")
        for row in mine.annotate(total=Sum("amount"), many=Count("pk")):
            came = int(row["total"]) if end == "dst" else 0
            went = int(row["total"]) if end == "src" else 0
            found.append(
                Moved(
                    row[f"{end}__owner_id"],
                    row[f"{end}__currency"],
                    row["kind"],
                    came,
                    went,
                    row["many"],
                )
            )
    return found


def _within(side: Side) -> Q:
    return Q(
        src__owner_id=F("dst__owner_id"),
        src__kind__in=side.accounts,
        dst__kind__in=side.accounts,
    )


def lines_of_month(
    *,
    side: Side,
    window: Window,
    owner_id: uuid.UUID,
    currency: str,
    before: int | None,
    limit: int,
) -> list[Transfer]:
    """Return some transfers of a person's month, the latest first, older than the transfer `before`."""
    inside = Transfer.objects.filter(window.covers()).exclude(_within(side))
    if before is not None:
        inside = inside.filter(pk__lt=before)
    found: list[Transfer] = []
    # One after the other: each end is a range of its own index.
    for end in ("dst", "src"):
        mine = inside.filter(
            **{
                f"{end}__kind__in": side.accounts,
                f"{end}__owner_id": owner_id,
                f"{end}__currency": currency,
            }
        )
        found += mine.select_related("src", "dst", "meter").order_by("-pk")[:limit]
    return sorted(found, key=lambda row: -row.pk)[:limit]
