"""Lists a page at a time, newest first: where a page ends is the id of its last row."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from core.errors import Invalid

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, and the `before` of the page after them; None: there is none."""

    rows: list[Row]
    next: str | None


def page_of(
    rows: QuerySet[Row],
    *,
    before: str | None,
    limit: int,
    among: QuerySet[Row] | None = None,
    by: str = "created_at",
) -> Page[Row]:
    """Return up to `limit` rows by the instant in `by`, the newest first, older than the row whose id is `before`.

    What is added meanwhile moves no row to another page. That row is looked for `among` others, where it may have left
    these meanwhile. Raises Invalid `cursor_invalid` when it is not there.
    """
    older = rows
    if before is not None:
        older = rows.filter(_behind(by, *_place(rows if among is None else among, by, before)))
    found = list(older.order_by(f"-{by}", "-pk")[: limit + 1])
    more = len(found) > limit
    return Page(found[:limit], str(found[limit - 1].pk) if more else None)


def _place(rows: QuerySet[Row], by: str, before: str) -> tuple[dt.datetime, Any]:
    try:
        found = rows.filter(pk=uuid.UUID(before)).values_list(by, "pk").first()
    except ValueError:
        found = None
    if found is None:
        raise Invalid("cursor_invalid", "Pass on `next` as it was given, or leave it out.")
    at, pk = found
    return at, pk


def _behind(by: str, at: dt.datetime, pk: Any) -> Q:
    # The first part says nothing new; an index can be walked from there.
    return Q(**{f"{by}__lte": at}) & (Q(**{f"{by}__lt": at}) | Q(pk__lt=pk))
