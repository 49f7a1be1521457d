"""A request that may be repeated gets one answer: same owner, key and body name the same subject."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid

from core import clock
from core.errors import Conflict, Invalid
from core.models import IdempotencyKey

MAX_KEY_LENGTH = 200
# Nobody repeats a request after a month; what it asked for is kept wherever it belongs.
KEPT = dt.timedelta(days=30)


def claim(*, owner_id: uuid.UUID, key: str, body: str, subject_id: uuid.UUID) -> uuid.UUID:
    """Return the subject of the first request with this key; `subject_id` itself when this is the first.

    Runs inside the caller's transaction: a concurrent twin waits here until the first one has committed
    or rolled back. Raises Conflict `idempotency_key_reused` when the body differs, Invalid
    `idempotency_key_missing` when there is no usable key.
    """
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise Invalid(
            "idempotency_key_missing",
            f"Send a header Idempotency-Key of 1 to {MAX_KEY_LENGTH} characters, new for each purchase.",
        )
    fingerprint = hashlib.sha256(body.encode()).hexdigest()
    IdempotencyKey.objects.bulk_create(
        [
            IdempotencyKey(
                owner_id=owner_id,
                key=key,
                fingerprint=fingerprint,
                subject_id=subject_id,
                created_at=clock.now(),
            )
        ],
        ignore_conflicts=True,
    )
    kept = IdempotencyKey.objects.get(owner_id=owner_id, key=key)
    if kept.fingerprint != fingerprint:
        raise Conflict(
            "idempotency_key_reused", "This Idempotency-Key was used for a different request."
        )
    return kept.subject_id


def forget_keys() -> int:
    """Delete the keys of requests that nobody repeats any more; return how many."""
    done, _ = IdempotencyKey.objects.filter(created_at__lt=clock.now() - KEPT).delete()
    return done
