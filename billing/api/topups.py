"""JSON doors of wallets that fill themselves."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import reconcile, services
from billing.presenting import top_up_out


class TopUpIn(serializers.Serializer[Any]):
    threshold = serializers.CharField(help_text="Below this much free money the wallet is filled.")
    amount = serializers.CharField(help_text="By how much.")
    month_max = serializers.CharField(help_text="At most so much in a calendar month (UTC).")


class TopUpView(APIView):
    """How the caller's wallet fills itself, from the method of the last deposit made with `remember`."""

    @extend_schema(operation_id="top_up_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        return Response(top_up_out(services.top_up_of(actor=actor)))

    @extend_schema(operation_id="top_up_set", request=TopUpIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request) -> Response:
        body = TopUpIn(data=request.data)
        body.is_valid(raise_exception=True)
        said, actor = body.validated_data, actor_from(request)
        actor.require("wallet:deposit")
        services.set_auto_top_up(
            actor=actor,
            threshold=services.parse_limit(said["threshold"]),
            amount=services.parse_deposit(said["amount"]),
            month_max=services.parse_limit(said["month_max"]),
            saved=reconcile.remembered_method(actor=actor),
        )
        return Response(top_up_out(services.top_up_of(actor=actor)))

    @extend_schema(operation_id="top_up_stop", responses=OpenApiTypes.OBJECT)
    def delete(self, request: Request) -> Response:
        actor = actor_from(request)
        services.stop_auto_top_up(actor=actor)
        return Response(top_up_out(services.top_up_of(actor=actor)))
