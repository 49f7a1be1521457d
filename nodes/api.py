"""JSON doors of machines: for hosts, for searchers and for joining agents."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actors import Actor
from accounts.api import actor_from
from core import clock, money
from core.errors import Invalid, NotFound, Unauthenticated, Unavailable
from core.pages import page_of
from hostagent.protocol import ProtocolError, read_join
from nodes import services, telemetry
from nodes.models import Node, NodeKey, SmartPrice, Workload
from nodes.presenting import hidden_out, offer_of, rank_out, smart_out, workload_out
from nodes.repricing import Wishes
from nodes.search.rows import NO_PRICE

PAGE_ROWS = 200


def node_out(node: Node) -> dict[str, Any]:
    """Return a node as its owner sees it."""
    offer = offer_of(node)
    return {
        "id": str(node.pk),
        "name": node.name,
        "status": node.status,
        "tier": node.tier,
        "agent_version": node.agent_version,
        "facts": node.facts,
        "checks": node.checks,
        "draining": node.draining,
        "listed": bool(offer and offer.listed),
        "hidden_because": hidden_out(offer),
        "rank": rank_out(offer),
        "last_beat": node.last_beat,
        "price": {
            "gpu_hourly": money.decimal_string(node.gpu_rate * money.SECONDS_PER_HOUR),
            "cpu_node_hourly": money.decimal_string(node.cpu_node_rate * money.SECONDS_PER_HOUR),
            "minimum_hourly": money.decimal_string(node.minimum_rate * money.SECONDS_PER_HOUR),
            "storage_gb_monthly": money.decimal_string(
                node.storage_gb_rate * money.SECONDS_PER_MONTH
            ),
            "egress_gb": NO_PRICE,
        },
    }


class NodeListView(APIView):
    """The machines that the caller manages."""

    @extend_schema(operation_id="nodes_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("node:manage")
        machines = Node.objects.visible_to(actor).select_related("offer").order_by("name")
        return Response([node_out(node) for node in machines])


class MetricsQuery(serializers.Serializer[Any]):
    field = serializers.ChoiceField(choices=list(telemetry.FIELDS))
    gpu = serializers.IntegerField(min_value=0, max_value=63, required=False)
    minutes = serializers.IntegerField(min_value=1, max_value=7 * 24 * 60, default=60)


def metrics_out(
    node_id: str, *, field: str, minutes: int, gpu: int | None = None
) -> dict[str, Any]:
    """Return one series as [epoch seconds, mean] pairs, at most some 360 of them, and its unit."""
    measurement, unit, _ = telemetry.FIELDS[field]
    if (measurement == "gpu") != (gpu is not None):
        raise Invalid("metrics_gpu", "Name a card with `gpu` for gpu_ fields, and for no other.")
    end = clock.epoch() + 1
    step = max(10, minutes // 6)
    try:
        points = telemetry.store().read(
            telemetry.Series(node_id, field, gpu), start=end - 60 * minutes, end=end, step=step
        )
    except telemetry.TelemetryAway as error:
        raise Unavailable(
            "telemetry_away", "The store of measurements does not answer; try again in a minute."
        ) from error
    return {"field": field, "unit": unit, "step_seconds": step, "points": points}


class NodeMetricsView(APIView):
    """What one of the caller's machines has measured of itself, as a line for a chart."""

    @extend_schema(
        operation_id="nodes_metrics",
        parameters=[
            OpenApiParameter("field", enum=list(telemetry.FIELDS)),
            OpenApiParameter("gpu", int, description="index of the card, for fields of cards"),
            OpenApiParameter("minutes", int, description="how far back, 1 to 10080"),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, node_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        actor.require("node:manage")
        if not Node.objects.visible_to(actor).filter(pk=node_id).exists():
            raise NotFound("node_unknown", "You have no such machine.")
        asked = MetricsQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(metrics_out(str(node_id), **asked.validated_data))


class NodeView(APIView):
    @extend_schema(operation_id="nodes_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, node_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        actor.require("node:manage")
        node = Node.objects.visible_to(actor).filter(pk=node_id).first()
        if node is None:
            raise NotFound("node_unknown", "You have no such machine.")
        return Response(node_out(node))


class NodeRentalsView(APIView):
    """What runs and ran on one of the caller's machines, newest first; `next` is the `before` of the page after."""

    @extend_schema(
        operation_id="nodes_rentals",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("before", uuid.UUID)],
    )
    def get(self, request: Request, node_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        actor.require("node:manage")
        if not Node.objects.visible_to(actor).filter(pk=node_id).exists():
            raise NotFound("node_unknown", "You have no such machine.")
        before = request.query_params.get("before")
        page = page_of(Workload.objects.filter(node_id=node_id), before=before, limit=PAGE_ROWS)
        return Response({"rows": [workload_out(row) for row in page.rows], "next": page.next})


def price_in(**more: Any) -> serializers.DecimalField:
    """Return a field for a price in currency units."""
    return serializers.DecimalField(max_digits=14, decimal_places=9, min_value=0, **more)


class PricesIn(serializers.Serializer[Any]):
    gpu_hourly = price_in()
    cpu_node_hourly = price_in()
    storage_gb_monthly = price_in()
    minimum_hourly = price_in(required=False)
    egress_gb = price_in(required=False)


class ManyPricesIn(serializers.Serializer[Any]):
    """Either `node_ids` or `all`; a price that is not named stays as it is."""

    node_ids = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=services.MOST_AT_ONCE
    )
    all = serializers.BooleanField(default=False)
    gpu_hourly = price_in(required=False)
    cpu_node_hourly = price_in(required=False)
    minimum_hourly = price_in(required=False)
    storage_gb_monthly = price_in(required=False)
    egress_gb = price_in(required=False)


class ManyPricesView(APIView):
    """What several of the caller's machines cost from now on: on all of them or on none."""

    @extend_schema(
        operation_id="nodes_prices_of_many", request=ManyPricesIn, responses=OpenApiTypes.OBJECT
    )
    def post(self, request: Request) -> Response:
        body = ManyPricesIn(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        everything, ids = asked.pop("all"), asked.pop("node_ids", None)
        if everything == (ids is not None):
            raise Invalid("machines_missing", "Name the machines in `node_ids`, or say `all`.")
        changed = services.set_prices_of_many(
            actor=actor_from(request), node_ids=ids, prices=services.Prices(**asked)
        )
        # Read again, all at once: what was changed holds offers as they were before.
        machines = Node.objects.filter(pk__in=[node.pk for node in changed]).order_by("name")
        return Response([node_out(node) for node in machines.select_related("offer")])


class NodePricesView(APIView):
    """What a machine costs from now on."""

    @extend_schema(request=PricesIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, node_id: uuid.UUID) -> Response:
        body = PricesIn(data=request.data)
        body.is_valid(raise_exception=True)
        node = services.set_prices(
            actor=actor_from(request), node_id=node_id, **body.validated_data
        )
        return Response(node_out(node))


class SmartWishesIn(serializers.Serializer[Any]):
    floor_hourly = price_in()
    ceiling_hourly = price_in()
    target_percent = serializers.IntegerField(min_value=0, max_value=100)


class SmartPriceIn(SmartWishesIn):
    on = serializers.BooleanField()


class SmartPriceView(APIView):
    """Smart pricing of a machine: its wishes, what they would do now and why; docs/pricing.md has the formula."""

    @extend_schema(operation_id="nodes_smart_price", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, node_id: uuid.UUID) -> Response:
        return Response(_smart(actor_from(request), node_id))

    @extend_schema(request=SmartPriceIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, node_id: uuid.UUID) -> Response:
        body = SmartPriceIn(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_from(request)
        services.set_smart_price(actor=actor, node_id=node_id, **body.validated_data)
        return Response(_smart(actor, node_id))


class SmartPricePreviewView(APIView):
    """What smart pricing would do now with these wishes; nothing is changed."""

    @extend_schema(
        operation_id="nodes_smart_price_preview",
        request=SmartWishesIn,
        responses=OpenApiTypes.OBJECT,
    )
    def post(self, request: Request, node_id: uuid.UUID) -> Response:
        body = SmartWishesIn(data=request.data)
        body.is_valid(raise_exception=True)
        wishes = services.wishes_from(**body.validated_data)
        return Response(_smart(actor_from(request), node_id, wishes))


def _smart(actor: Actor, node_id: uuid.UUID, wishes: Wishes | None = None) -> dict[str, Any]:
    preview = services.preview_smart_price(actor=actor, node_id=node_id, wishes=wishes)
    smart = SmartPrice.objects.filter(node_id=node_id).first()
    return smart_out(smart, preview) or {"on": False}


class DrainIn(serializers.Serializer[Any]):
    draining = serializers.BooleanField()


class NodeDrainView(APIView):
    """Accept nothing new on a machine, or take that back."""

    @extend_schema(request=DrainIn, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, node_id: uuid.UUID) -> Response:
        body = DrainIn(data=request.data)
        body.is_valid(raise_exception=True)
        node = services.drain_node(
            actor=actor_from(request), node_id=node_id, draining=body.validated_data["draining"]
        )
        return Response(node_out(node))


class HeartbeatView(APIView):
    """The HTTP heartbeat of the seeds' protocol needs a proven session, never the bearer key alone."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=OpenApiTypes.OBJECT, responses={401: OpenApiTypes.OBJECT})
    def post(self, request: Request, node_id: uuid.UUID) -> Response:
        raise Unauthenticated(
            "challenge_required",
            "A node key alone proves nothing. Open the agent socket and answer its challenge.",
        )


class NodeKeyIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)


def node_key_out(key: NodeKey) -> dict[str, Any]:
    return {
        "id": str(key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "node_id": str(key.node_id) if key.node_id else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at if not key.public_key else None,
        "revoked": key.revoked_at is not None,
    }


class NodeKeyListView(APIView):
    """Keys that agents join with; the plain key is in the answer to POST, once."""

    @extend_schema(operation_id="node_keys_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("node_key:manage")
        keys = NodeKey.objects.visible_to(actor).order_by("created_at")
        return Response([node_key_out(key) for key in keys])

    @extend_schema(request=NodeKeyIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        body = NodeKeyIn(data=request.data)
        body.is_valid(raise_exception=True)
        key, plain = services.create_node_key(
            actor=actor_from(request), name=body.validated_data["name"]
        )
        return Response({**node_key_out(key), "key": plain}, status=status.HTTP_201_CREATED)


class NodeKeyView(APIView):
    @extend_schema(responses={204: None})
    def delete(self, request: Request, key_id: uuid.UUID) -> Response:
        services.revoke_node_key(actor=actor_from(request), key_id=key_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class JoinView(APIView):
    """Where an agent registers its machine: `Authorization: Bearer <node key>` and a signed profile."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=OpenApiTypes.OBJECT, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        scheme, _, plain = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not plain:
            raise Unauthenticated("node_key_missing", "Send `Authorization: Bearer <node key>`.")
        try:
            body = read_join(request.data)
        except ProtocolError as error:
            raise Invalid(error.code, str(error)) from error
        answer = services.join_node(plain_key=plain.strip(), request=body)
        return Response(msgspec.to_builtins(answer))
