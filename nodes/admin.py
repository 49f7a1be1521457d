"""Machines for staff: to look at, not to edit; changes go through services."""

from __future__ import annotations

from django.contrib import admin

from core.admin import ReadOnlyAdmin
from nodes.models import Allocation, Node, PortLease, ProxyServer, Workload


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    list_display = ["name", "owner", "status", "tier", "agent_version", "last_beat"]
    list_filter = ["status", "tier"]
    search_fields = ["id", "name", "owner__email"]


@admin.register(Workload)
class WorkloadAdmin(ReadOnlyAdmin):
    list_display = ["id", "node", "wish", "observed_state", "created_at"]
    list_filter = ["wish", "observed_state"]
    search_fields = ["id", "subject_id", "node__name"]
    exclude = ["sealed_env"]


@admin.register(PortLease)
class PortLeaseAdmin(ReadOnlyAdmin):
    list_display = ["port", "server", "workload", "container_port", "released_at", "free_at"]
    search_fields = ["port", "workload__id"]


admin.site.register(Allocation, ReadOnlyAdmin)
admin.site.register(ProxyServer, ReadOnlyAdmin)
