"""Monthly statements: opening balance, sums by kind, closing balance. A closed month never changes.

What is found out later is a transfer of the month in which it is made, so yesterday's statement stays
true. Months are UTC; use belongs to the month in which it is posted.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import OperationalError, transaction

from accounts.actors import Actor
from billing import queries
from billing.models import Account, Month, MonthlyStatement, Side, Transfer
from billing.queries import Moved, Window
from billing.services.statements import Statement
from core import clock
from core.errors import Invalid, NotFound

CHUNK = 500
MOST_LINES = 100_000
Key = tuple[uuid.UUID, str]
PERMISSIONS = {Side.WALLET: "wallet:read", Side.HOST: "earnings:read"}


@dataclass(frozen=True)
class KindSum:
    """What one kind of transfer brought and took (nano-units)."""

    kind: str
    came: int
    went: int
    count: int


@dataclass(frozen=True)
class MonthOut:
    """A person's month; `closed` is False while it goes on and its figures still change."""

    month: dt.date
    side: Side
    currency: str
    opening: int
    closing: int
    sums: list[KindSum]
    closed: bool


@dataclass
class _Draft:
    opening: int = 0
    sums: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, moved: Moved) -> None:
        row = self.sums.setdefault(moved.kind, {"in": 0, "out": 0, "count": 0})
        row["in"] += moved.came
        row["out"] += moved.went
        row["count"] += moved.count

    @property
    def closing(self) -> int:
        return self.opening + sum(row["in"] - row["out"] for row in self.sums.values())


def month_of(instant: dt.datetime) -> dt.date:
    """Return the first day of an instant's month (UTC)."""
    return instant.astimezone(dt.UTC).date().replace(day=1)


def month_after(month: dt.date) -> dt.date:
    """Return the first day of the month after."""
    return (month + dt.timedelta(days=32)).replace(day=1)


def close_months() -> int:
    """Close every month that is over and write its statements, the oldest first; return how many were closed.

    May be killed after any line and be run by many at once: a month is fixed once, a statement exists
    once, and the next run goes on where this one ended.
    """
    done = 0
    while (month := _fixed_next()) is not None:
        _state(month)
        done += 1
    return done


def _fixed_next() -> Month | None:
    """Return the oldest month that still lacks statements, fixed now if that is due."""
    waiting = Month.objects.filter(stated_at=None).order_by("month").first()
    if waiting is not None:
        return waiting
    latest = Month.objects.order_by("-month").first()
    first = queries.first_instant()
    if latest is None and first is None:
        return None
    start = month_after(latest.month) if latest else month_of(first or clock.now())
    ends_at = dt.datetime.combine(month_after(start), dt.time(), tzinfo=dt.UTC)
    return _fix(start, ends_at) if ends_at <= clock.now() else None


def _fix(start: dt.date, ends_at: dt.datetime) -> Month | None:
    """Say which transfers a month holds. None: postings did not pause for it; the clock comes again."""
    try:
        with transaction.atomic():
            last = queries.last_transfer_of_all()
            month, _ = Month.objects.get_or_create(
                month=start, defaults={"ends_at": ends_at, "last_transfer": last}
            )
    except OperationalError:
        return None
    return month


def _state(month: Month) -> None:
    """Write the statements of a month, some people at a time."""
    window = Window(month, _before(month.month))
    after: uuid.UUID | None = None
    while owners := _next_owners(after):
        for side in Side:
            _state_some(window, month, side, owners)
        after = owners[-1]
    Month.objects.filter(pk=month.pk, stated_at=None).update(stated_at=clock.now())


def _next_owners(after: uuid.UUID | None) -> list[uuid.UUID]:
    people = Account.objects.filter(owner_id__isnull=False).order_by("owner_id")
    if after is not None:
        people = people.filter(owner_id__gt=after)
    ids = people.values_list("owner_id", flat=True).distinct()[:CHUNK]
    return [owner_id for owner_id in ids if owner_id is not None]


@transaction.atomic
def _state_some(window: Window, month: Month, side: Side, owners: Sequence[uuid.UUID]) -> None:
    drafts = _openings(month.month, side, owners)
    for moved in queries.moved_in_month(side=side, window=window, owners=owners):
        drafts[moved.owner_id, moved.currency].add(moved)
    MonthlyStatement.objects.bulk_create(
        [
            MonthlyStatement(
                month=month,
                owner_id=owner_id,
                side=side.value,
                currency=currency,
                opening=draft.opening,
                closing=draft.closing,
                sums=draft.sums,
                made_at=clock.now(),
            )
            for (owner_id, currency), draft in sorted(drafts.items())
        ],
        ignore_conflicts=True,
    )


def _openings(month: dt.date, side: Side, owners: Sequence[uuid.UUID]) -> defaultdict[Key, _Draft]:
    """Return a draft for everybody who has had a statement before: it opens as that one closed."""
    found: defaultdict[Key, _Draft] = defaultdict(_Draft)
    earlier = MonthlyStatement.objects.filter(
        side=side.value, owner_id__in=owners, month__lt=month
    ).order_by("owner_id", "currency", "-month")
    for row in earlier.distinct("owner_id", "currency"):
        found[row.owner_id, row.currency] = _Draft(row.closing)
    return found


def _before(month: dt.date) -> Month | None:
    """Return the last month before one whose statements are all written."""
    stated = Month.objects.filter(month__lt=month, stated_at__isnull=False)
    return stated.order_by("-month").first()


def months_of(
    *, actor: Actor, side: Side, currency: str, before: dt.date | None = None, limit: int = 24
) -> list[MonthOut]:
    """Return the actor's closed months, the latest first, older than `before`."""
    actor.require(PERMISSIONS[side])
    mine = MonthlyStatement.objects.filter(
        owner_id=actor.user_id, side=side.value, currency=currency
    )
    if before is not None:
        mine = mine.filter(month__lt=before)
    return [_out(row) for row in mine.order_by("-month")[:limit]]


def _out(row: MonthlyStatement) -> MonthOut:
    side, month = Side(row.side), row.month_id
    return MonthOut(month, side, row.currency, row.opening, row.closing, _sums(row.sums), True)


def _sums(sums: dict[str, dict[str, int]]) -> list[KindSum]:
    rows = [KindSum(kind, row["in"], row["out"], row["count"]) for kind, row in sums.items()]
    return sorted(rows, key=lambda row: row.kind)


def month_out_of(*, actor: Actor, month: dt.date, side: Side, currency: str) -> MonthOut:
    """Return one month of the actor, the open one included. Raises NotFound `statement_unknown`."""
    actor.require(PERMISSIONS[side])
    fixed = Month.objects.filter(month=month).exists()
    if not fixed and month == month_of(clock.now()):
        return _open_month(actor, month, side, currency)
    row = MonthlyStatement.objects.filter(
        owner_id=actor.user_id, side=side.value, currency=currency, month=month
    ).first()
    if row is None:
        raise NotFound("statement_unknown", "There is no statement of yours for that month.")
    return _out(row)


def _open_month(actor: Actor, month: dt.date, side: Side, currency: str) -> MonthOut:
    latest = _before(month)
    draft = _Draft()
    if latest is not None:
        draft = _openings(month_after(latest.month), side, [actor.user_id])[actor.user_id, currency]
    window = Window(None, latest)
    for moved in queries.moved_in_month(side=side, window=window, owners=[actor.user_id]):
        if moved.currency == currency:
            draft.add(moved)
    return MonthOut(
        month, side, currency, draft.opening, draft.closing, _sums(draft.sums), closed=False
    )


def month_lines(
    *,
    actor: Actor,
    month: dt.date,
    side: Side,
    currency: str,
    before: int | None = None,
    limit: int = 100,
) -> Statement:
    """Return a page of the movements of one of the actor's months, the latest first."""
    actor.require(PERMISSIONS[side])
    window = Window(Month.objects.filter(month=month).first(), _before(month))
    rows = queries.lines_of_month(
        side=side, window=window, owner_id=actor.user_id, currency=currency, before=before,
        limit=limit + 1,
    )  # fmt: skip
    return Statement(rows[:limit], rows[limit - 1].pk if len(rows) > limit else None)


def all_month_lines(*, actor: Actor, month: dt.date, side: Side, currency: str) -> list[Transfer]:
    """Return every movement of one of the actor's months, the oldest first. Raises Invalid `statement_long`."""
    page = month_lines(actor=actor, month=month, side=side, currency=currency, limit=MOST_LINES)
    if page.next_before is not None:
        raise Invalid(
            "statement_long",
            f"That month has more than {MOST_LINES:,} movements. Read it as json, page by page.",
        )
    return page.rows[::-1]
