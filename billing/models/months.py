"""Months that are over, and what each person's money did in them: written once, never changed."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models import Q

from billing.models.ledger import AccountKind
from core.ids import new_id


class Side(StrEnum):
    """Whose money a statement tells of: what somebody pays with, or what their machines earn."""

    WALLET = "wallet"
    HOST = "host"

    @property
    def accounts(self) -> tuple[str, ...]:
        """Return the kinds of accounts that are one thing to their owner: moves between them are none."""
        if self is Side.WALLET:
            return (AccountKind.WALLET.value,)
        return (AccountKind.HOST.value, AccountKind.HOST_FREE.value)


class Month(models.Model):
    """A calendar month (UTC) that is over.

    It holds the transfers up to `last_transfer` that were made before `ends_at` and are in no month before.
    Nothing with such an id can appear any more: it was read while nobody could post.
    """

    month = models.DateField(primary_key=True)
    ends_at = models.DateTimeField()
    last_transfer = models.BigIntegerField()
    # When the last of its statements was written.
    stated_at = models.DateTimeField(null=True, blank=True)
    # When the last of its invoices was issued.
    invoiced_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class MonthlyStatement(models.Model):
    """One person's money in one month; `sums` is {kind: {"in", "out", "count"}}, amounts in nano-units."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    month = models.ForeignKey(Month, models.PROTECT, related_name="statements")
    owner_id = models.UUIDField()
    side = models.CharField(max_length=6, choices=[(s.value, s.value) for s in Side])
    currency = models.CharField(max_length=6)
    opening = models.BigIntegerField()
    closing = models.BigIntegerField()
    sums = models.JSONField()
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner_id", "side", "currency", "month"], name="statement_once_a_month"
            ),
            models.CheckConstraint(
                condition=Q(side__in=[s.value for s in Side]), name="statement_side_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.month_id:%Y-%m}"
