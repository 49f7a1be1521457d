"""Money on its way out: payouts to hosts."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db import models
from django.db.models import Q

from billing.machine import PAYOUT, PayoutState
from core.ids import new_id


class PayoutQuerySet(models.QuerySet["Payout"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(self, pk: uuid.UUID, frm: PayoutState, to: PayoutState, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        PAYOUT.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class Payout(models.Model):
    """What a host wants to be paid, and what became of it. Its amount left `host_free` when it was made."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_id = models.UUIDField(db_index=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=6)
    provider = models.CharField(max_length=10)
    # Where to: an account number, encrypted; the hint is its last characters.
    destination = models.CharField(max_length=1000)
    hint = models.CharField(max_length=8)
    # How much of it the provider took back after it was paid.
    reversed = models.BigIntegerField(default=0)
    # How it is called at the provider, or at the bank.
    ref = models.CharField(max_length=200, blank=True, default="")
    # Why it was refused or failed.
    note = models.CharField(max_length=400, blank=True, default="")
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in PayoutState])
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = PayoutQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="payout_amount_positive"),
            models.CheckConstraint(
                condition=Q(reversed__gte=0, reversed__lte=models.F("amount")),
                name="payout_reversed_fits",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in PayoutState]), name="payout_state_known"
            ),
        ]
        indexes = [
            # Serves billing.reconcile: what waits for somebody.
            models.Index(
                fields=["state"],
                name="payout_open",
                condition=Q(state__in=["requested", "approved", "sending"]),
            ),
        ]

    def __str__(self) -> str:
        return f"payout {self.pk}"
