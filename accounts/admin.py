"""People for staff: to look at and to deactivate."""

from __future__ import annotations

from django.contrib import admin

from accounts.models import ApiKey, Notice, Secret, SshKey, User
from core.admin import ReadOnlyAdmin


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    list_display = ["email", "name", "role", "is_staff", "is_active", "date_joined"]
    search_fields = ["id", "email", "name"]
    exclude = ["password"]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ["prefix", "user", "name", "last_used_at", "revoked_at"]
    exclude = ["digest"]


@admin.register(Secret)
class SecretAdmin(ReadOnlyAdmin):
    list_display = ["name", "user", "version", "changed_at", "last_used_at"]
    exclude = ["sealed"]


admin.site.register(SshKey, ReadOnlyAdmin)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "user", "code", "mail", "mail_attempts", "mail_error", "read_at"]
    list_filter = ["mail", "code"]
    search_fields = ["user__email"]
