"""What is open to everyone: the search of offers; and what belongs to the whole API rather than to one app."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.api import envelope
from core.errors import Invalid, NotFound
from marketplace.history import MOST_DAYS, USUAL_DAYS, cursor_of, place_of, price_out
from marketplace.limits import NearThrottle
from nodes import queries
from nodes.models import ModelPrice
from nodes.search import board
from nodes.search.fields import FIELDS, Kind
from nodes.search.query import LIMITS, Query, Sort, parse
from nodes.search.rows import offer_out

API = "/api/"
ENDS = {Kind.NUMBER: ("", "_min", "_max"), Kind.TEXT: ("", "_not"), Kind.FLAG: ("",)}
KINDS: dict[Kind, Any] = {Kind.NUMBER: OpenApiTypes.INT, Kind.FLAG: OpenApiTypes.BOOL}
ASKED = [
    OpenApiParameter(name, int, description=f"{low} to {high}")
    for name, (low, high) in LIMITS.items()
    if name != "limit"
]
PAGING = [
    OpenApiParameter("limit", int, description="rows of a page, 1 to 200"),
    OpenApiParameter("sort", str, enum=list(Sort)),
    OpenApiParameter("after", str, description="`next` of the page before"),
]
FILTERS = [
    OpenApiParameter(
        f"{each.name}{end}",
        OpenApiTypes.DECIMAL if each.name == "price_hourly" else KINDS.get(each.kind, str),
        many=each.kind is Kind.TEXT,
        description=" ".join(part for part in (each.unit, each.note) if part),
    )
    for each in FIELDS.values()
    if each.kind in ENDS
    for end in ENDS[each.kind]
]


class HealthView(APIView):
    """Says whether this process answers and reaches its database; no details."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return Response({"live": True, "ready": True})


class OfferSearchView(APIView):
    """What can start now and fits: a page of it, how much there is of everything, and where the next page begins.

    When nothing fits, `without` says how much would without each filter.
    """

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = [NearThrottle]

    @extend_schema(
        operation_id="offers_search",
        parameters=[*ASKED, *PAGING, *FILTERS],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request) -> HttpResponse:
        query = parse(request.query_params.lists())
        data = msgspec.Raw(board.search(query).json)
        return HttpResponse(msgspec.json.encode(envelope(data)), content_type="application/json")


class OfferView(APIView):
    """One offer that is listed, at its price for what is asked."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="offers_read", parameters=ASKED, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, offer_id: uuid.UUID) -> Response:
        query = parse(request.query_params.lists())
        if query != Query(gpus=query.gpus, disk_gb=query.disk_gb, hours=query.hours):
            raise Invalid("filter_unknown", "One offer is asked for by `gpus`, `disk_gb`, `hours`.")
        offer = queries.listed_offers().filter(pk=offer_id).first()
        if offer is None:
            raise NotFound("offer_unknown", "This offer is not listed now. Search again.")
        return Response(offer_out(offer, query))


class PricesQuery(serializers.Serializer[Any]):
    gpu_model = serializers.CharField(max_length=200, required=False)
    without_cards = serializers.BooleanField(required=False, default=False)
    days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS, default=USUAL_DAYS)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)
    after = serializers.CharField(max_length=400, required=False)


class MarketPricesView(APIView):
    """What hosts asked for free cards of each model, hour by hour, newest first; an hour that nobody saw is no row.

    Each host has one voice. `thin`: fewer than three hosts, so that one of them makes the figures.
    """

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="market_prices",
        parameters=[
            OpenApiParameter("gpu_model", str, description="one model, as the search names it"),
            OpenApiParameter("without_cards", bool, description="machines without a card instead"),
            OpenApiParameter("days", int, description=f"how far back, 1 to {MOST_DAYS}"),
            OpenApiParameter("limit", int, description="rows of a page, 1 to 500"),
            OpenApiParameter("after", str, description="`next` of the page before"),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request) -> Response:
        body = PricesQuery(data=request.query_params)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        rows = ModelPrice.objects.filter(hour__gt=clock.now() - dt.timedelta(days=asked["days"]))
        if asked["without_cards"] or "gpu_model" in asked:
            rows = rows.filter(gpu_model="" if asked["without_cards"] else asked["gpu_model"])
        if "after" in asked:
            hour, model = place_of(asked["after"])
            # Said twice, as the index finds the first and not the second.
            rows = rows.filter(hour__lte=hour).filter(Q(hour__lt=hour) | Q(gpu_model__gt=model))
        page = list(rows.order_by("-hour", "gpu_model")[: asked["limit"] + 1])
        shown, more = page[: asked["limit"]], len(page) > asked["limit"]
        after = cursor_of(shown[-1]) if more else None
        return Response({"rows": [price_out(row) for row in shown], "next": after})


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, open to everyone and without our envelope."""

    permission_classes = [AllowAny]
    renderer_classes = [*SpectacularAPIView.renderer_classes, JSONRenderer]


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that does not exist, such as one with a broken id: below /api/ in the envelope."""
    if not request.path.startswith(API):
        return defaults.page_not_found(request, exception)
    sentence = "There is no such address. GET /api/schema/ lists those that are."
    return JsonResponse(envelope(error=sentence, code="not_found"), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer after a bug of ours: below /api/ in the envelope, without a word about the inside."""
    if not request.path.startswith(API):
        return defaults.server_error(request)
    sentence = "Something broke on our side, and it is written down. Try again in a minute."
    return JsonResponse(envelope(error=sentence, code="internal_error"), status=500)
