"""Wallets that fill themselves: from which payment method, when, how much, and at most how much in a month."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from core.ids import new_id


class AutoTopUpQuerySet(models.QuerySet["AutoTopUp"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class AutoTopUp(models.Model):
    """One person's rule: below `threshold` charge `amount`, at most `month_max` in a calendar month (UTC)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_id = models.UUIDField(unique=True)
    enabled = models.BooleanField(default=True)
    threshold = models.BigIntegerField()
    amount = models.BigIntegerField()
    month_max = models.BigIntegerField()
    currency = models.CharField(max_length=6)
    provider = models.CharField(max_length=10)
    # The payer and the payment method as the provider calls them.
    customer = models.CharField(max_length=200)
    method = models.CharField(max_length=200)
    # When the rule became what it is: what was charged before followed another.
    since = models.DateTimeField()
    # How often in a row it was declined, and before when it is not tried again.
    failures = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True, default="")

    objects = AutoTopUpQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(threshold__gte=0, amount__gt=0, month_max__gte=models.F("amount")),
                name="top_up_amounts_sane",
            ),
        ]

    def __str__(self) -> str:
        return f"top-up of {self.owner_id}"
