"""JSON doors of what goes back: renters see it, staff decide it."""

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
from billing import services
from billing.models import Bearer
from billing.presenting import refund_out, return_out

KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)


class RefundListView(APIView):
    """What the caller was given back: refunds, credits for faults with their evidence, adjustments."""

    @extend_schema(operation_id="wallet_refunds", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("wallet:read")
        return Response([refund_out(row) for row in services.refunds_to(owner_id=actor.user_id)])


class RefundIn(serializers.Serializer[Any]):
    subject_id = serializers.UUIDField(help_text="The rental.")
    amount = serializers.CharField()
    reason = serializers.CharField(max_length=400)
    borne_by = serializers.ChoiceField([b.value for b in Bearer], default=Bearer.HOST.value)
    transfer_id = serializers.IntegerField(required=False, min_value=1, max_value=2**62)


class StaffRefundView(APIView):
    """Give back, as staff, some of what a rental has paid: at most what is left of it."""

    @extend_schema(
        operation_id="staff_refunds_create",
        request=RefundIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[KEY],
    )
    def post(self, request: Request) -> Response:
        body = RefundIn(data=request.data)
        body.is_valid(raise_exception=True)
        said = body.validated_data
        made = services.refund_charge(
            actor=actor_from(request),
            subject_id=said["subject_id"],
            amount=services.parse_refund(said["amount"]),
            reason=said["reason"],
            borne_by=Bearer(said["borne_by"]),
            transfer_id=said.get("transfer_id"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(refund_out(made), status=201)


class ReturnIn(serializers.Serializer[Any]):
    amount = serializers.CharField(
        required=False, help_text="A plain decimal number; without one, all that is left."
    )
    reason = serializers.CharField(max_length=400)


class StaffReturnView(APIView):
    """Send, as staff, a deposit back to what it was paid with: at most what is left of it and free in the wallet."""

    @extend_schema(operation_id="staff_returns_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, deposit_id: uuid.UUID) -> Response:
        actor_from(request).require("staff")
        return Response([return_out(row) for row in services.returns_of(deposit_id=deposit_id)])

    @extend_schema(
        operation_id="staff_returns_create",
        request=ReturnIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[KEY],
    )
    def post(self, request: Request, deposit_id: uuid.UUID) -> Response:
        body = ReturnIn(data=request.data)
        body.is_valid(raise_exception=True)
        amount = body.validated_data.get("amount")
        made = services.return_deposit(
            actor=actor_from(request),
            deposit_id=deposit_id,
            amount=None if amount is None else services.parse_refund(amount),
            reason=body.validated_data["reason"],
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(return_out(made), status=201)


class AdjustmentIn(serializers.Serializer[Any]):
    owner_id = serializers.UUIDField()
    amount = serializers.CharField()
    reason = serializers.CharField(max_length=400)
    currency = serializers.CharField(required=False)


class StaffAdjustmentView(APIView):
    """Give somebody, as staff, money of the platform's, with a reason."""

    @extend_schema(
        operation_id="staff_adjustments_create",
        request=AdjustmentIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[KEY],
    )
    def post(self, request: Request) -> Response:
        body = AdjustmentIn(data=request.data)
        body.is_valid(raise_exception=True)
        said = body.validated_data
        currency = said.get("currency")
        made = services.adjust_wallet(
            actor=actor_from(request),
            owner_id=said["owner_id"],
            amount=services.parse_refund(said["amount"]),
            reason=said["reason"],
            currency=None if currency is None else services.parse_currency(currency),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(refund_out(made), status=201)
