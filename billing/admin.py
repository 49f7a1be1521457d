"""Money for staff: to read. Corrections are new transfers, made by services."""

from __future__ import annotations

from django.contrib import admin

from billing.models import Account, Deposit, Dispute, Hold, Meter, PaymentEvent, Transfer
from core.admin import ReadOnlyAdmin


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "owner_id", "currency", "balance", "held", "burn", "runs_out"]
    list_filter = ["kind", "currency"]
    search_fields = ["owner_id"]


@admin.register(Meter)
class MeterAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "subject_id", "rate", "started", "settled", "ended"]
    search_fields = ["id", "subject_id"]


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "src", "dst", "amount", "t0", "t1", "created_at"]
    list_filter = ["kind"]
    search_fields = ["meter__subject_id", "idem"]


admin.site.register(Hold, ReadOnlyAdmin)


@admin.register(Deposit)
class DepositAdmin(ReadOnlyAdmin):
    list_display = ["id", "owner_id", "amount", "refunded", "provider", "state", "created_at"]
    list_filter = ["state", "provider"]
    search_fields = ["id", "owner_id", "ref", "email"]


@admin.register(PaymentEvent)
class PaymentEventAdmin(ReadOnlyAdmin):
    list_display = ["event_id", "provider", "kind", "deposit_id", "outcome", "at"]
    list_filter = ["outcome", "kind"]
    search_fields = ["event_id", "deposit_id"]


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = ["id", "deposit", "ref", "amount", "state", "opened_at", "closed_at"]
    list_filter = ["state"]
    search_fields = ["ref", "deposit__id"]
