"""JSON doors of quotes and rentals; those of templates are in `template_api`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from billing import services as billing
from core import money
from core.api import csv_answer, wants_csv
from core.errors import NotFound
from core.pages import page_of
from nodes import services as nodes
from rentals import preflight, services
from rentals.models import Rental
from rentals.presenting import (
    BILL_COLUMNS,
    bill_out,
    bill_rows,
    preflight_out,
    price_change_out,
    price_history_out,
    quote_out,
    rental_out,
    rentals_out,
    step_out,
)

PAGE_ROWS = 200


class QuoteIn(serializers.Serializer[Any]):
    offer_id = serializers.UUIDField()
    template_id = serializers.UUIDField()
    template_version = serializers.IntegerField(required=False, min_value=1, max_value=100_000)
    gpu_count = serializers.IntegerField(required=False, min_value=0, max_value=64)
    disk_gb = serializers.IntegerField(required=False, min_value=1, max_value=100_000)


class QuoteView(APIView):
    """A price for this offer, template and size, honoured for two minutes."""

    @extend_schema(request=QuoteIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        body = QuoteIn(data=request.data)
        body.is_valid(raise_exception=True)
        quote = services.quote_offer(actor=actor_from(request), **body.validated_data)
        return Response(quote_out(quote), status=status.HTTP_201_CREATED)


class PreflightIn(serializers.Serializer[Any]):
    template_id = serializers.UUIDField(required=False)
    template_version = serializers.IntegerField(required=False, min_value=1, max_value=100_000)
    image = serializers.CharField(required=False, default="", max_length=500)
    gpu_count = serializers.IntegerField(required=False, min_value=0, max_value=64)
    disk_gb = serializers.IntegerField(required=False, min_value=1, max_value=100_000)


class PreflightView(APIView):
    """Everything that can be known before money moves, and how long the start will take; see docs/preflight.md.

    Of a template or of an image alone. At most 20 a minute. A rent within ten minutes of it takes the very
    image that it saw, and is refused while its newest one fails.
    """

    @extend_schema(request=PreflightIn, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, offer_id: uuid.UUID) -> Response:
        body = PreflightIn(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_from(request)
        plan = services.plan_preflight(actor=actor, offer_id=offer_id, **body.validated_data)
        return Response(preflight_out(preflight.run(actor=actor, plan=plan)))


class RentalIn(serializers.Serializer[Any]):
    quote_id = serializers.UUIDField()
    ssh_key_ids = serializers.ListField(
        child=serializers.UUIDField(), required=False, min_length=1, max_length=50
    )
    env = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        required=False,
        help_text="Variables of this rental, beside and instead of the template's.",
    )
    secrets = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="Variable: name of a secret."
    )
    agreed_secrets = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        max_length=64,
        help_text="Your secrets that somebody else's template may read; the quote names them in `reads_secrets`.",
    )
    command = serializers.ListField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )
    ends_at = serializers.DateTimeField(required=False)


class RentalListView(APIView):
    """The caller's rentals, newest first; `next` is the `before` of the page after."""

    @extend_schema(
        operation_id="rentals_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("before", uuid.UUID)],
    )
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("rental:manage")
        found = Rental.objects.of_renter(actor).select_related("node", "version__template", "start")
        page = page_of(found, before=request.query_params.get("before"), limit=PAGE_ROWS)
        return Response({"rows": rentals_out(page.rows), "next": page.next})

    @extend_schema(
        request=RentalIn,
        responses={201: OpenApiTypes.OBJECT},
        parameters=[
            OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)
        ],
    )
    def post(self, request: Request) -> Response:
        """Rent what a quote names."""
        body = RentalIn(data=request.data)
        body.is_valid(raise_exception=True)
        rental = services.request_rental(
            actor=actor_from(request),
            quote_id=body.validated_data["quote_id"],
            ssh_key_ids=body.validated_data.get("ssh_key_ids"),
            ends_at=body.validated_data.get("ends_at"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
            changes=services.Changes(
                env=body.validated_data.get("env", {}),
                secrets=body.validated_data.get("secrets", {}),
                command=body.validated_data.get("command"),
                agreed=body.validated_data.get("agreed_secrets", []),
            ),
        )
        return Response(rental_out(rental), status=status.HTTP_201_CREATED)


def _mine(request: Request, rental_id: uuid.UUID) -> Rental:
    actor = actor_from(request)
    actor.require("rental:manage")
    found = Rental.objects.of_renter(actor).select_related("node", "version__template")
    rental = found.filter(pk=rental_id).first()
    if rental is None:
        raise NotFound("rental_unknown", "You have no such rental.")
    return rental


class RentalView(APIView):
    @extend_schema(operation_id="rentals_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, rental_id: uuid.UUID) -> Response:
        return Response(rental_out(_mine(request, rental_id)))


class RentalActionView(APIView):
    """POST makes the rental do it; see `actions` of the rental for what is possible now."""

    verb: Callable[..., Rental] = staticmethod(services.end_rental)

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, rental_id: uuid.UUID) -> Response:
        self.verb(actor=actor_from(request), rental_id=rental_id)
        return Response(rental_out(_mine(request, rental_id)))


class RecreateIn(serializers.Serializer[Any]):
    confirm_data_loss = serializers.BooleanField(required=False, default=False)


class RentalRecreateView(APIView):
    """A fresh container from the image; everything on its disk is deleted, so it must be confirmed."""

    @extend_schema(request=RecreateIn, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = RecreateIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.recreate_rental(
            actor=actor_from(request),
            rental_id=rental_id,
            confirmed=body.validated_data["confirm_data_loss"],
        )
        return Response(rental_out(_mine(request, rental_id)))


class PriceAnswerIn(serializers.Serializer[Any]):
    change_id = serializers.UUIDField()
    answer = serializers.ChoiceField(choices=["accept", "refuse"])


class RentalPriceView(APIView):
    """What it costs, until when that is locked, and the other prices it had or was asked for."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, rental_id: uuid.UUID) -> Response:
        return Response(price_history_out(_mine(request, rental_id)))

    @extend_schema(request=PriceAnswerIn, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, rental_id: uuid.UUID) -> Response:
        """Accept or refuse the price that waits; silence means what its sentence says."""
        body = PriceAnswerIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.answer_price(
            actor=actor_from(request),
            rental_id=rental_id,
            change_id=body.validated_data["change_id"],
            accept=body.validated_data["answer"] == "accept",
        )
        return Response(price_history_out(_mine(request, rental_id)))


class RaiseIn(serializers.Serializer[Any]):
    compute_hourly = serializers.DecimalField(max_digits=12, decimal_places=6, min_value=0)
    storage_gb_monthly = serializers.DecimalField(max_digits=12, decimal_places=6, min_value=0)


class RentalRaiseView(APIView):
    """For hosts: ask the renter for a higher price inside the lock; without consent nothing changes."""

    @extend_schema(request=RaiseIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = RaiseIn(data=request.data)
        body.is_valid(raise_exception=True)
        change = services.offer_raise(
            actor=actor_from(request), rental_id=rental_id, **body.validated_data
        )
        out = price_change_out(change.rental, change)
        return Response(out, status=status.HTTP_201_CREATED)


class LimitsIn(serializers.Serializer[Any]):
    ends_at = serializers.DateTimeField(allow_null=True)
    spend_cap = serializers.DecimalField(
        max_digits=16, decimal_places=9, allow_null=True, min_value=0
    )
    idle_minutes = serializers.IntegerField(required=False, default=None, allow_null=True)


class RentalLimitsView(APIView):
    """When it stops by itself, its disk kept: at an instant, at a sum, or when idle. null means never."""

    @extend_schema(request=LimitsIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = LimitsIn(data=request.data)
        body.is_valid(raise_exception=True)
        cap = body.validated_data["spend_cap"]
        services.set_limits(
            actor=actor_from(request),
            rental_id=rental_id,
            ends_at=body.validated_data["ends_at"],
            spend_cap=None if cap is None else money.nano_from_decimal(cap),
            idle_minutes=body.validated_data["idle_minutes"],
        )
        return Response(rental_out(_mine(request, rental_id)))


class ExtendIn(serializers.Serializer[Any]):
    hours = serializers.DecimalField(max_digits=8, decimal_places=4, min_value=0)


class RentalExtendView(APIView):
    """Put its end date off by some hours; the other limits stay. With an Idempotency-Key, once however often sent."""

    @extend_schema(
        request=ExtendIn,
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def post(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = ExtendIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.extend_rental(
            actor=actor_from(request),
            rental_id=rental_id,
            seconds=int(body.validated_data["hours"] * money.SECONDS_PER_HOUR),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return Response(rental_out(_mine(request, rental_id)))


class CheckpointIn(serializers.Serializer[Any]):
    command = serializers.CharField(allow_blank=True, max_length=1000)
    seconds = serializers.IntegerField(required=False, default=60, min_value=1, max_value=600)


class RentalCheckpointView(APIView):
    """A shell command that runs inside before the platform stops it; an empty one: none."""

    @extend_schema(request=CheckpointIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = CheckpointIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.set_checkpoint(
            actor=actor_from(request), rental_id=rental_id, **body.validated_data
        )
        return Response(rental_out(_mine(request, rental_id)))


class KeysIn(serializers.Serializer[Any]):
    ssh_key_ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=50)


class RentalKeysView(APIView):
    """Which keys open it from now on; takes effect without a restart."""

    @extend_schema(request=KeysIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, rental_id: uuid.UUID) -> Response:
        body = KeysIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.change_keys(actor=actor_from(request), rental_id=rental_id, **body.validated_data)
        return Response(rental_out(_mine(request, rental_id)))


class RentalLogsView(APIView):
    """The container's last words, from its last stop, exit or failure; kept for 30 days. For its renter alone."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, rental_id: uuid.UUID) -> Response:
        rental = _mine(request, rental_id)
        services.require_own(actor_from(request), rental)
        kept = nodes.last_words(workload_id=rental.workload_id)
        return Response({"text": kept.text if kept else "", "at": kept.at if kept else None})


class RentalTimelineView(APIView):
    """Everything that happened to it, oldest first, with who did it; codes are in docs/reasons.md."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, rental_id: uuid.UUID) -> Response:
        told = services.timeline(_mine(request, rental_id))
        return Response([step_out(step) for step in told])


class RentalBillView(APIView):
    """The rental's bill: rate x seconds = amount, what began and ended each line, what was not billed or given back."""

    @extend_schema(
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("format", str, enum=["json", "csv"])],
    )
    def get(self, request: Request, rental_id: uuid.UUID) -> HttpResponseBase:
        rental, as_csv = _mine(request, rental_id), wants_csv(request)
        bill, given = services.explain(rental), billing.refunds_of(subject_id=rental.pk)
        if as_csv:
            return csv_answer(f"bill-{rental.pk}", BILL_COLUMNS, bill_rows(bill, given))
        return Response(bill_out(bill, given))
