"""JSON doors of payouts: hosts ask, staff decide."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actors import Actor
from accounts.api import actor_from
from billing import services
from billing.models import Payout
from billing.presenting import payout_out, staff_payout_out
from core.errors import NotFound

KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)


class PayoutIn(serializers.Serializer[Any]):
    amount = serializers.CharField(help_text="A plain decimal number with at most two places.")
    destination = serializers.CharField(max_length=100, help_text="The account it should go to.")


class PayoutListView(APIView):
    """The caller's payouts. POST asks for one; staff decide about it."""

    @extend_schema(operation_id="payouts_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("earnings:read")
        return Response([payout_out(row) for row in services.payouts_of(actor=actor)])

    @extend_schema(
        operation_id="payouts_create",
        request=PayoutIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[KEY],
    )
    def post(self, request: Request) -> Response:
        body = PayoutIn(data=request.data)
        body.is_valid(raise_exception=True)
        made = services.request_payout(
            actor=actor_from(request),
            amount=services.parse_payout(body.validated_data["amount"]),
            destination=body.validated_data["destination"],
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(payout_out(made), status=201)


class PayoutView(APIView):
    @extend_schema(operation_id="payouts_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, payout_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        actor.require("earnings:read")
        return Response(payout_out(services.payout_of(actor=actor, payout_id=payout_id)))


class CancelPayoutView(APIView):
    """Take a payout back while it is not on its way."""

    @extend_schema(operation_id="payouts_cancel", request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, payout_id: uuid.UUID) -> Response:
        done = services.cancel_payout(actor=actor_from(request), payout_id=payout_id)
        return Response(payout_out(done))


class StaffPayoutListView(APIView):
    """Everybody's payouts, with where they go to; for staff."""

    @extend_schema(
        operation_id="staff_payouts_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("state", str), OpenApiParameter("before", uuid.UUID)],
    )
    def get(self, request: Request) -> Response:
        rows = services.payouts_in(
            actor=actor_from(request),
            state=request.query_params.get("state", ""),
            before=request.query_params.get("before"),
        )
        return Response([staff_payout_out(row) for row in rows])


class DecisionIn(serializers.Serializer[Any]):
    text = serializers.CharField(
        max_length=400, required=False, help_text="The reason, or the bank's reference."
    )


class DecidePayoutView(APIView):
    """Decide as staff: `approve`, `refuse` (a reason), `paid` (the bank's reference), `failed` (a reason)."""

    @extend_schema(
        operation_id="staff_payouts_decide", request=DecisionIn, responses=OpenApiTypes.OBJECT
    )
    def post(self, request: Request, payout_id: uuid.UUID, decision: str) -> Response:
        body = DecisionIn(data=request.data)
        body.is_valid(raise_exception=True)
        decide = DECISIONS.get(decision)
        if decide is None:
            raise NotFound("decision_unknown", f"Decide one of {', '.join(DECISIONS)}.")
        done = decide(actor_from(request), payout_id, body.validated_data.get("text", ""))
        return Response(staff_payout_out(done))


Decision = Callable[[Actor, uuid.UUID, str], Payout]
DECISIONS: dict[str, Decision] = {
    "approve": lambda actor, pk, _: services.approve_payout(actor=actor, payout_id=pk),
    "refuse": lambda actor, pk, text: services.refuse_payout(
        actor=actor, payout_id=pk, reason=text
    ),
    "paid": lambda actor, pk, text: services.confirm_payout(
        actor=actor, payout_id=pk, reference=text
    ),
    "failed": lambda actor, pk, text: services.reject_payout(
        actor=actor, payout_id=pk, reason=text
    ),
}
