"""Money that goes back to who paid it in: because staff decided so, or at the provider's own pages."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db import models
from django.db.models import F, Q

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

    `asked` is what the provider sends; `amount` of it left the wallet or became a debt, and counts as `refunded`
    of the deposit until it is known that it does not arrive. Both are the same, but where banks took some of the
    deposit meanwhile. The deposit's lock guards it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    deposit = models.ForeignKey(Deposit, models.PROTECT, related_name="returns")
    asked = models.BigIntegerField()
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
            models.CheckConstraint(
                condition=Q(amount__gte=0, amount__lte=F("asked")), name="return_amount_fits"
            ),
            models.UniqueConstraint(
                fields=["deposit", "ref"], condition=~Q(ref=""), name="return_once"
            ),
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
