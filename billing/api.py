"""JSON doors of one's own money."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import reconcile, services
from billing.presenting import deposit_out, line_out, transfer_out
from core import clock, money


class WalletView(APIView):
    """What the caller has: total = available + locked."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        balance = services.balance_of(owner_id=actor.user_id)
        return Response(
            {
                "currency": balance.currency,
                "total": money.decimal_string(balance.total),
                "available": money.decimal_string(balance.available),
                "locked": money.decimal_string(balance.locked),
                "hourly": money.decimal_string(balance.burn * money.SECONDS_PER_HOUR),
                "runs_out": clock.from_epoch(balance.runs_out) if balance.runs_out else None,
            }
        )


class DepositIn(serializers.Serializer[Any]):
    amount = serializers.DecimalField(max_digits=8, decimal_places=2, min_value=0)


class DepositListView(APIView):
    """Money on its way into the caller's wallet. POST opens a checkout; pay at its `url`."""

    @extend_schema(operation_id="deposits_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        return Response([deposit_out(row) for row in services.deposits_of(actor=actor)])

    @extend_schema(
        request=DepositIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[
            OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)
        ],
    )
    def post(self, request: Request) -> Response:
        body = DepositIn(data=request.data)
        body.is_valid(raise_exception=True)
        made = services.request_deposit(
            actor=actor_from(request),
            amount=money.nano_from_decimal(body.validated_data["amount"]),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(deposit_out(reconcile.open_checkout(made.pk)), status=201)


class DepositView(APIView):
    @extend_schema(operation_id="deposits_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, deposit_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        return Response(deposit_out(services.deposit_of(actor=actor, deposit_id=deposit_id)))


class StatementView(APIView):
    """The latest movements of the caller's wallet."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        rows = services.statement_of(owner_id=actor.user_id)
        return Response([transfer_out(row, actor.user_id) for row in rows])


class EarningsView(APIView):
    """What the caller's machines have earned, after the platform's fee."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("earnings:read")
        earnings = services.earnings_of(owner_id=actor.user_id)
        return Response(
            {
                "currency": earnings.currency,
                "total": money.decimal_string(earnings.total),
                "lines": [line_out(line) for line in earnings.lines],
            }
        )
