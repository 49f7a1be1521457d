"""Money on its way back to who paid it in, because staff decided so."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db import models
from django.db.models import Q

from billing.machine import RETURN, ReturnState
from billing.models.payments import Deposit
from core.ids import new_id


class DepositReturnQuerySet(models.QuerySet["DepositReturn"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(self, pk: uuid.UUID, frm: ReturnState, to: ReturnState, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        RETURN.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class DepositReturn(models.Model):
    """A part of a deposit, or all of it, that goes back by the way it came.

    Its amount left the wallet, and counts as `refunded` of the deposit, from the moment it was decided until
    it is known that it cannot be sent. The deposit's lock guards it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    deposit = models.ForeignKey(Deposit, models.PROTECT, related_name="returns")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=400)
    # How it is called at the provider, and why it could not be sent.
    ref = models.CharField(max_length=200, blank=True, default="")
    note = models.CharField(max_length=400, blank=True, default="")
    state = models.CharField(max_length=8, choices=[(s.value, s.value) for s in ReturnState])
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = DepositReturnQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="return_amount_positive"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in ReturnState]), name="return_state_known"
            ),
        ]
        indexes = [
            # Serves billing.reconcile: what has to be sent.
            models.Index(fields=["state"], name="return_open", condition=Q(state="decided")),
        ]

    def __str__(self) -> str:
        return f"return {self.pk}"
