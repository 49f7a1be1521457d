"""The log for staff: to read."""

from __future__ import annotations

from django.contrib import admin

from audit.models import AuditEvent
from core.admin import ReadOnlyAdmin


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor_label", "verb", "subject_type", "subject_id"]
    list_filter = ["verb", "actor_kind"]
    search_fields = ["subject_id", "actor_id", "verb"]
