"""JSON doors of statements."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import services
from billing.papers.presenting import (
    MONTH_COLUMNS,
    currency_from,
    line_out,
    month_from,
    month_out,
    month_rows,
    side_from,
)
from billing.presenting import cursor_from
from core.api import csv_answer, wants_csv

SIDE = OpenApiParameter("side", str, enum=["wallet", "host"])
CURRENCY = OpenApiParameter("currency", str, enum=list(services.currencies()))
FORMAT = OpenApiParameter("format", str, enum=["json", "csv"])
PAGE = 24


class StatementListView(APIView):
    """The caller's closed months, the latest first; `next` is the `before` of the page after."""

    @extend_schema(
        operation_id="statements_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[SIDE, CURRENCY, OpenApiParameter("before", str)],
    )
    def get(self, request: Request) -> Response:
        asked: Any = request.query_params
        before = asked.get("before")
        found = services.months_of(
            actor=actor_from(request),
            side=side_from(asked.get("side")),
            currency=currency_from(asked.get("currency")),
            before=None if before is None else month_from(before),
            limit=PAGE,
        )
        rows = [month_out(each) for each in found]
        return Response({"rows": rows, "next": rows[-1]["month"] if len(rows) == PAGE else None})


class StatementMonthView(APIView):
    """One month: opening, sums by kind, closing, and its movements, 100 a page; as CSV all of them."""

    @extend_schema(
        operation_id="statements_read",
        responses=OpenApiTypes.OBJECT,
        parameters=[SIDE, CURRENCY, FORMAT, OpenApiParameter("before", int)],
    )
    def get(self, request: Request, month: str) -> HttpResponseBase:
        actor, asked = actor_from(request), request.query_params
        which: Any = {
            "actor": actor,
            "month": month_from(month),
            "side": side_from(asked.get("side")),
            "currency": currency_from(asked.get("currency")),
        }
        before, as_csv = cursor_from(asked.get("before")), wants_csv(request)
        found = services.month_out_of(**which)
        if as_csv:
            everything = services.all_month_lines(**which)
            rows = month_rows(found, everything, actor.user_id)
            return csv_answer(f"statement-{month}-{found.side}", MONTH_COLUMNS, rows)
        page = services.month_lines(**which, before=before)
        lines = [line_out(row, actor.user_id, found.side) for row in page.rows]
        return Response({**month_out(found), "lines": lines, "next": page.next_before})
