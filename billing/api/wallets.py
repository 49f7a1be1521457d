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
from billing.presenting import (
    balance_out,
    cursor_from,
    days_from,
    deposit_out,
    fees_out,
    host_balance_out,
    line_out,
    movement_out,
    place_day_out,
    transfer_out,
)
from core import money

CURRENCY = OpenApiParameter("currency", str, enum=list(services.currencies()))


def _currency(request: Request) -> str:
    given = request.query_params.get("currency")
    return services.currencies()[0] if given is None else services.parse_currency(given)


class WalletView(APIView):
    """What the caller has in one currency: total = available + locked."""

    @extend_schema(responses=OpenApiTypes.OBJECT, parameters=[CURRENCY])
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        currency = _currency(request)
        return Response(balance_out(services.balance_of(owner_id=actor.user_id, currency=currency)))


class WalletListView(APIView):
    """What the caller has in each currency."""

    @extend_schema(operation_id="wallets_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        return Response(
            [balance_out(each) for each in services.balances_of(owner_id=actor.user_id)]
        )


class DepositIn(serializers.Serializer[Any]):
    amount = serializers.CharField(help_text="A plain decimal number with at most two places.")
    currency = serializers.CharField(required=False)
    remember = serializers.BooleanField(
        default=False, help_text="Let the method be charged again by /wallet/top-up/."
    )


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
        currency = body.validated_data.get("currency")
        made = services.request_deposit(
            actor=actor_from(request),
            amount=services.parse_deposit(body.validated_data["amount"]),
            currency=None if currency is None else services.parse_currency(currency),
            remember=body.validated_data["remember"],
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
    """The movements of one of the caller's wallets, newest first; `next` is the `before` of the page after."""

    @extend_schema(
        responses=OpenApiTypes.OBJECT, parameters=[CURRENCY, OpenApiParameter("before", int)]
    )
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        page = services.statement_of(
            owner_id=actor.user_id,
            currency=_currency(request),
            before=cursor_from(request.query_params.get("before")),
        )
        rows = [transfer_out(row, actor.user_id) for row in page.rows]
        return Response({"rows": rows, "next": page.next_before})


class MovementView(APIView):
    """One movement explained: rate x seconds, what it mends or what mends it, or the payment behind it."""

    @extend_schema(operation_id="movements_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, transfer_id: int) -> Response:
        actor = actor_from(request)
        found = services.explain_transfer(actor=actor, transfer_id=transfer_id)
        return Response(movement_out(found, actor.user_id))


class EarningsView(APIView):
    """What the caller's machines have earned, after the platform's fee: line by line, and what of it is free.

    `total` is everything up to now; `pending` matures as `ripens` says; `payable` can be paid out now.
    """

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("earnings:read")
        earnings = services.earnings_of(owner_id=actor.user_id)
        balance = services.host_balance_of(owner_id=actor.user_id)
        return Response(
            {
                **host_balance_out(balance),
                "currency": earnings.currency,
                "total": money.decimal_string(earnings.total),
                "lines": [line_out(line) for line in earnings.lines],
            }
        )


class EarningsByDayView(APIView):
    """What each of the caller's machines earned on each of the last days (UTC), as posted."""

    @extend_schema(
        operation_id="earnings_by_day",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("days", int, description="1 to 92; 31 when left out.")],
    )
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("earnings:read")
        days = days_from(request.query_params.get("days"))
        rows = services.earned_by_day(owner_id=actor.user_id, days=days)
        return Response([place_day_out(row) for row in rows])


class FeesView(APIView):
    """The platform's share of what renters pay: today's, and those that are announced."""

    @extend_schema(operation_id="fees", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor_from(request)
        return Response(fees_out())
