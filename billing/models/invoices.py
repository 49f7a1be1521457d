"""Invoices and credit notes, their numbers, and whom they are made out to."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from django.db import models
from django.db.models import Q

from billing.models.months import Month
from core.ids import new_id


class BillingDetails(models.Model):
    """Whom a person's invoices are made out to; an invoice keeps what they were when it was issued."""

    owner_id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=120, blank=True, default="")
    company = models.CharField(max_length=120, blank=True, default="")
    address = models.CharField(max_length=500, blank=True, default="")
    # ISO 3166-1 alpha-2, empty while nobody has said.
    country = models.CharField(max_length=2, blank=True, default="")
    vat_id = models.CharField(max_length=24, blank=True, default="")
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"billing details of {self.owner_id}"


class Paper(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class NumberSeriesQuerySet(models.QuerySet["NumberSeries"]):
    def lock(self) -> Self:
        """Lock a series, so that a number is taken only together with what bears it."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class NumberSeries(models.Model):
    """The last number given in a year. It is counted on in the transaction that issues, so it has no gaps."""

    paper = models.CharField(max_length=12, choices=[(p.value, p.value) for p in Paper])
    year = models.PositiveSmallIntegerField()
    last = models.PositiveIntegerField(default=0)

    objects = NumberSeriesQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["paper", "year"], name="number_series_once_a_year"),
        ]

    def __str__(self) -> str:
        return f"{self.paper} {self.year}: {self.last}"


class Invoice(models.Model):
    """An invoice for a month's use, or a credit note about an earlier one. `data` is all that it says.

    `sha256` is that of `data` as canonical JSON; amounts in nano-units, rounded to cents.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    paper = models.CharField(max_length=12, choices=[(p.value, p.value) for p in Paper])
    year = models.PositiveSmallIntegerField()
    seq = models.PositiveIntegerField()
    number = models.CharField(max_length=24, unique=True)
    owner_id = models.UUIDField()
    month = models.ForeignKey(Month, models.PROTECT, related_name="invoices")
    currency = models.CharField(max_length=6)
    total = models.BigIntegerField()
    corrects = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="credit_notes"
    )
    data = models.JSONField()
    sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["paper", "year", "seq"], name="invoice_number_once"),
            # A month is invoiced once, and corrects each earlier invoice once.
            models.UniqueConstraint(
                fields=["owner_id", "month", "currency", "corrects"],
                name="invoice_once_a_month",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=Q(total__gt=0), name="invoice_total_positive"),
            models.CheckConstraint(
                condition=Q(paper="credit_note") ^ Q(corrects=None), name="credit_note_corrects"
            ),
        ]
        indexes = [
            # Serves billing.services.invoices_of.
            models.Index(fields=["owner_id", "-issued_at"], name="invoice_of_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.paper} {self.number}"
