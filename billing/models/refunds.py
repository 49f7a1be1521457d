"""Decisions by which a renter gets something back of what was paid for use: by staff, or by the rules of faults."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models import Q

from core.ids import new_id


class RefundKind(StrEnum):
    REFUND = "refund"
    CREDIT = "credit"
    # Money that nothing was paid for: a gift of the platform, with a reason.
    ADJUSTMENT = "adjustment"


class Bearer(StrEnum):
    """Who pays for it. `host`: each gives back what it got; `platform`: the platform pays all of it."""

    HOST = "host"
    PLATFORM = "platform"


class Refund(models.Model):
    """One decision; its legs are the transfers whose group it is, each naming the posting it gives back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=10, choices=[(k.value, k.value) for k in RefundKind])
    borne_by = models.CharField(max_length=8, choices=[(b.value, b.value) for b in Bearer])
    owner_id = models.UUIDField(db_index=True)
    # What it is about (a rental); None for an adjustment.
    subject_id = models.UUIDField(null=True, blank=True, db_index=True)
    # What happened, told apart from everything else that happened to the subject.
    incident = models.CharField(max_length=80, blank=True, default="")
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=6)
    reason = models.CharField(max_length=400)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(kind="adjustment") ^ Q(subject_id__isnull=False),
                name="refund_has_its_subject",
            ),
            # A fault is credited once, whoever finds it how often.
            models.UniqueConstraint(
                fields=["subject_id", "incident"],
                condition=Q(kind="credit"),
                name="refund_once_per_incident",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
