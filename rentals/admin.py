"""Rentals for staff: to look at; changes go through services."""

from __future__ import annotations

from django.contrib import admin

from core.admin import ReadOnlyAdmin
from rentals.models import Quote, Rental, Template, TemplateVersion


@admin.register(Rental)
class RentalAdmin(ReadOnlyAdmin):
    list_display = ["id", "renter", "node", "state", "created_at", "running_since", "ended_at"]
    list_filter = ["state"]
    search_fields = ["id", "renter__email", "node__name", "workload_id"]


@admin.register(Template)
class TemplateAdmin(ReadOnlyAdmin):
    list_display = ["name", "slug", "owner", "visibility", "latest", "archived_at"]
    list_filter = ["visibility"]
    search_fields = ["id", "name", "slug", "owner__email"]


admin.site.register(TemplateVersion, ReadOnlyAdmin)
admin.site.register(Quote, ReadOnlyAdmin)
