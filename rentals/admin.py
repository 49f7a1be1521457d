"""Rentals for staff: to look at; changes go through services."""

from __future__ import annotations

from django.contrib import admin

from core.admin import ReadOnlyAdmin
from rentals.models import Quote, Rental, Template


@admin.register(Rental)
class RentalAdmin(ReadOnlyAdmin):
    list_display = ["id", "renter", "node", "state", "created_at", "running_since", "ended_at"]
    list_filter = ["state"]
    search_fields = ["id", "renter__email", "node__name", "workload_id"]


admin.site.register(Template, ReadOnlyAdmin)
admin.site.register(Quote, ReadOnlyAdmin)
