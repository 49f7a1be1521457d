"""Events that can never change, and the seals that chain them.

An event is written inside the transaction that it tells of, with no lock, so that auditing never makes
writers wait for each other. A seal, added shortly after by one reconciler, gives it its place: seq, the
hash of the seal before it, and its own hash.
"""

from __future__ import annotations

from django.db import models

from core.ids import new_id


class AuditEvent(models.Model):
    """Who did what to what, when."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=40)
    actor_label = models.CharField(max_length=254)
    verb = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=30)
    subject_id = models.UUIDField()
    data = models.JSONField(default=dict)

    class Meta:
        indexes = [
            # Serves audit.services.timeline.
            models.Index(fields=["subject_id", "at"], name="audit_of_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject_id}"


class AuditSeal(models.Model):
    """The place of one event in the chain: hash = SHA-256(previous hash, canonical event)."""

    seq = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(AuditEvent, models.PROTECT, related_name="seal")
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"seal {self.seq}"
