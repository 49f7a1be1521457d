"""Rentals for staff: to look at, and to give back what was paid; changes go through services."""

from __future__ import annotations

import uuid

from django.contrib import admin
from django.http import HttpRequest

from accounts.services import actor_of_request
from billing import services as billing
from billing.models import Bearer
from core.admin import GiveForm, ReadOnlyAdmin, each
from rentals.models import Quote, Rental, RentalQuerySet, Template, TemplateVersion


@admin.register(Rental)
class RentalAdmin(ReadOnlyAdmin):
    list_display = ["id", "renter", "node", "state", "created_at", "running_since", "ended_at"]
    list_filter = ["state"]
    search_fields = ["id", "renter__email", "node__name", "workload_id"]
    action_form = GiveForm
    actions = ["refund", "refund_as_platform"]

    @admin.action(description="Give an amount back, with a reason: host and platform their parts")
    def refund(self, request: HttpRequest, rows: RentalQuerySet) -> None:
        self._refund(request, rows, Bearer.HOST)

    @admin.action(description="Give an amount back, with a reason: the platform pays all of it")
    def refund_as_platform(self, request: HttpRequest, rows: RentalQuerySet) -> None:
        self._refund(request, rows, Bearer.PLATFORM)

    def _refund(self, request: HttpRequest, rows: RentalQuerySet, borne_by: Bearer) -> None:
        actor, said = actor_of_request(request), request.POST

        def decide(pk: uuid.UUID, key: str) -> None:
            billing.refund_charge(
                actor=actor,
                subject_id=pk,
                amount=billing.parse_refund(said.get("amount", "")),
                reason=said.get("note", ""),
                borne_by=borne_by,
                idempotency_key=key,
            )

        each(self, request, rows, decide)


@admin.register(Template)
class TemplateAdmin(ReadOnlyAdmin):
    list_display = ["name", "slug", "owner", "visibility", "latest", "archived_at"]
    list_filter = ["visibility"]
    search_fields = ["id", "name", "slug", "owner__email"]


admin.site.register(TemplateVersion, ReadOnlyAdmin)
admin.site.register(Quote, ReadOnlyAdmin)
