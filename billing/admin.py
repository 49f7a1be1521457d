"""Money for staff: to read, to give back, and to decide about payouts. Services do it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.http import HttpRequest

from accounts.actors import Actor
from accounts.services import actor_of_request
from billing.models import (
    Account,
    AccountKind,
    AccountQuerySet,
    Deposit,
    DepositQuerySet,
    DepositReturn,
    Dispute,
    Hold,
    Meter,
    PaymentEvent,
    Payout,
    PayoutQuerySet,
    Refund,
    Transfer,
)
from billing.services import (
    adjust_wallet,
    approve_payout,
    confirm_payout,
    parse_refund,
    refuse_payout,
    reject_payout,
    return_deposit,
)
from core import secrets
from core.admin import GiveForm, ReadOnlyAdmin, each
from core.errors import Conflict


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "owner_id", "currency", "balance", "held", "burn", "runs_out"]
    list_filter = ["kind", "currency"]
    search_fields = ["owner_id"]
    action_form = GiveForm
    actions = ["give"]

    @admin.action(description="Give an amount of the platform's money to the owner, with a reason")
    def give(self, request: HttpRequest, rows: AccountQuerySet) -> None:
        actor, said = actor_of_request(request), request.POST

        def decide(pk: int, key: str) -> None:
            account = Account.objects.get(pk=pk)
            if account.kind != AccountKind.WALLET or account.owner_id is None:
                raise Conflict("wallet_needed", "Choose wallets of people.")
            adjust_wallet(
                actor=actor,
                owner_id=account.owner_id,
                amount=parse_refund(said.get("amount", "")),
                reason=said.get("note", ""),
                currency=account.currency,
                idempotency_key=key,
            )

        each(self, request, rows, decide)


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
    action_form = GiveForm
    actions = ["send_back"]

    @admin.action(description="Send back to the payer, with a reason; no amount: all that is left")
    def send_back(self, request: HttpRequest, rows: DepositQuerySet) -> None:
        actor, said = actor_of_request(request), request.POST
        amount = said.get("amount", "").strip()

        def decide(pk: uuid.UUID, key: str) -> None:
            return_deposit(
                actor=actor,
                deposit_id=pk,
                amount=parse_refund(amount) if amount else None,
                reason=said.get("note", ""),
                idempotency_key=key,
            )

        each(self, request, rows, decide)


@admin.register(DepositReturn)
class DepositReturnAdmin(ReadOnlyAdmin):
    list_display = ["id", "deposit", "amount", "state", "reason", "ref", "note", "changed_at"]
    list_filter = ["state"]
    search_fields = ["id", "deposit__id", "deposit__owner_id", "ref"]


@admin.register(PaymentEvent)
class PaymentEventAdmin(ReadOnlyAdmin):
    list_display = ["event_id", "provider", "kind", "deposit_id", "outcome", "at"]
    list_filter = ["outcome", "kind"]
    search_fields = ["event_id", "deposit_id"]


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "owner_id", "subject_id", "amount", "borne_by", "created_at"]
    list_filter = ["kind", "borne_by"]
    search_fields = ["id", "owner_id", "subject_id", "incident"]


class NoteForm(ActionForm):
    """A line beside the action: why, or the bank's reference."""

    note = forms.CharField(max_length=400, required=False, label="Reason or reference")


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "owner_id",
        "amount",
        "currency",
        "provider",
        "hint",
        "state",
        "changed_at",
    ]
    list_filter = ["state", "provider"]
    search_fields = ["id", "owner_id", "ref"]
    exclude = ["destination"]
    readonly_fields = ["pays_to"]
    action_form = NoteForm
    actions = ["approve", "refuse", "confirm", "reject"]

    @admin.display(description="Pays to")
    def pays_to(self, payout: Payout) -> str:
        return secrets.unseal(payout.destination)

    @admin.action(description="Approve")
    def approve(self, request: HttpRequest, rows: PayoutQuerySet) -> None:
        self._decide(request, rows, lambda by, pk, _: approve_payout(actor=by, payout_id=pk))

    @admin.action(description="Refuse, with a reason")
    def refuse(self, request: HttpRequest, rows: PayoutQuerySet) -> None:
        self._decide(
            request, rows, lambda by, pk, note: refuse_payout(actor=by, payout_id=pk, reason=note)
        )

    @admin.action(description="Paid at the bank, with its reference")
    def confirm(self, request: HttpRequest, rows: PayoutQuerySet) -> None:
        self._decide(
            request,
            rows,
            lambda by, pk, note: confirm_payout(actor=by, payout_id=pk, reference=note),
        )

    @admin.action(description="Not taken by the bank, with a reason")
    def reject(self, request: HttpRequest, rows: PayoutQuerySet) -> None:
        self._decide(
            request, rows, lambda by, pk, note: reject_payout(actor=by, payout_id=pk, reason=note)
        )

    def _decide(
        self,
        request: HttpRequest,
        rows: PayoutQuerySet,
        decide: Callable[[Actor, uuid.UUID, str], object],
    ) -> None:
        actor, note = actor_of_request(request), request.POST.get("note", "")
        each(self, request, rows, lambda payout_id, _: decide(actor, payout_id, note))


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = ["id", "deposit", "ref", "amount", "state", "opened_at", "closed_at"]
    list_filter = ["state"]
    search_fields = ["ref", "deposit__id"]
