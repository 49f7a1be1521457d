"""JSON doors of one's own money."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import services
from billing.models import Transfer
from billing.services import BillLine
from core import clock, money


def line_out(line: BillLine) -> dict[str, Any]:
    return {
        "subject_id": str(line.subject_id),
        "kind": line.kind,
        "seconds": line.seconds,
        "started": clock.from_epoch(line.started),
        "ended": clock.from_epoch(line.ended) if line.ended else None,
        "paid_by_renter": money.decimal_string(line.amount),
        "earned": money.decimal_string(line.host_share),
    }


def transfer_out(transfer: Transfer, owner_id: object) -> dict[str, Any]:
    incoming = transfer.dst.owner_id == owner_id and transfer.dst.kind == "wallet"
    return {
        "id": transfer.pk,
        "kind": transfer.kind,
        "amount": ("" if incoming else "-") + money.decimal_string(transfer.amount),
        "currency": transfer.src.currency,
        "subject_id": str(transfer.meter.subject_id) if transfer.meter else None,
        "from": clock.from_epoch(transfer.t0) if transfer.t0 else None,
        "to": clock.from_epoch(transfer.t1) if transfer.t1 else None,
        "at": transfer.created_at,
    }


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
