"""JSON doors of statements and invoices."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import services
from billing.papers.pdf import pdf_answer
from billing.papers.presenting import (
    MONTH_COLUMNS,
    currency_from,
    invoice_out,
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


class InvoiceListView(APIView):
    """The caller's invoices and credit notes, the latest first; `next` is the `before` of the page after."""

    @extend_schema(
        operation_id="invoices_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("before", uuid.UUID)],
    )
    def get(self, request: Request) -> Response:
        before = request.query_params.get("before")
        page = services.invoices_of(actor=actor_from(request), before=before, limit=PAGE)
        return Response({"rows": [invoice_out(each) for each in page.rows], "next": page.next})


class InvoiceView(APIView):
    """One invoice or credit note, as it was issued."""

    @extend_schema(operation_id="invoices_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, invoice_id: uuid.UUID) -> Response:
        found = services.invoice_of(actor=actor_from(request), invoice_id=invoice_id)
        return Response(invoice_out(found))


class InvoicePdfView(APIView):
    """The same as PDF. 503 `pdf_unavailable` where the system cannot write PDF."""

    @extend_schema(operation_id="invoices_pdf", responses={(200, "application/pdf"): bytes})
    def get(self, request: Request, invoice_id: uuid.UUID) -> HttpResponse:
        return pdf_answer(services.invoice_of(actor=actor_from(request), invoice_id=invoice_id))


class DetailsIn(serializers.Serializer[Any]):
    name = serializers.CharField(allow_blank=True, default="", max_length=1000)
    company = serializers.CharField(allow_blank=True, default="", max_length=1000)
    address = serializers.CharField(allow_blank=True, default="", max_length=1000)
    country = serializers.CharField(allow_blank=True, default="", max_length=10)
    vat_id = serializers.CharField(allow_blank=True, default="", max_length=100)


class DetailsView(APIView):
    """Whom the caller's next invoices are made out to; what is issued stays as it is."""

    @extend_schema(operation_id="billing_details_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        return Response(services.buyer_out(services.details_of(owner_id=actor.user_id)))

    @extend_schema(
        operation_id="billing_details_set", request=DetailsIn, responses=OpenApiTypes.OBJECT
    )
    def put(self, request: Request) -> Response:
        body = DetailsIn(data=request.data)
        body.is_valid(raise_exception=True)
        made = services.set_details(actor=actor_from(request), **body.validated_data)
        return Response(services.buyer_out(made))
