"""Rows that every app needs and no app owns: the outbox and remembered answers."""

from __future__ import annotations

from django.db import models

from core.ids import new_id


class OutboxMessage(models.Model):
    """An event that was decided in a transaction and still has to leave it.

    Written by `core.outbox.publish`, deleted by `core.outbox.drain` when every handler has run.
    Handlers may run twice and in any order; a failing one is retried with back-off.
    """

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=100)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True, default="")

    class Meta:
        # Serves `core.outbox.drain`, which takes the oldest due rows first.
        indexes = [models.Index(fields=["due_at", "id"], name="outbox_due")]

    def __str__(self) -> str:
        return f"{self.topic} #{self.pk}"


class IdempotencyKey(models.Model):
    """The answer to a request that may be repeated: same owner, key and body give the same answer."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_id = models.UUIDField()
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    subject_id = models.UUIDField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner_id", "key"], name="idempotency_once_per_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.owner_id}:{self.key}"
