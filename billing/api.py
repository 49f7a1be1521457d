"""JSON doors of one's own money."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import services
from billing.presenting import line_out, transfer_out
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
