"""The audit log: append, seal, verify."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from django.db import connection, transaction
from django.db.models import F

from audit.models import AuditEvent, AuditSeal
from core import clock

GENESIS = "0" * 64
# An arbitrary constant: whoever holds this advisory lock is the only one who seals.
SEAL_LOCK = 6_001


class Who(Protocol):
    """What the log needs to know of an actor (accounts.actors.Actor has it)."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...


def record(
    *,
    actor: Who,
    verb: str,
    subject_type: str,
    subject_id: uuid.UUID,
    data: Mapping[str, Any],
) -> None:
    """Append an event in the caller's transaction: it is true exactly if that commits."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"{verb} recorded outside a transaction")
    AuditEvent.objects.create(
        at=clock.now(),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label,
        verb=verb,
        subject_type=subject_type,
        subject_id=subject_id,
        data=dict(data),
    )


def timeline(*, subject_id: uuid.UUID) -> list[AuditEvent]:
    """Return everything that happened to one subject, oldest first."""
    return list(AuditEvent.objects.filter(subject_id=subject_id).order_by("at"))


def newest(*, subject_id: uuid.UUID) -> AuditEvent | None:
    """Return what was recorded last of a subject, by the chain's order, which no clock that is set back changes."""
    events = AuditEvent.objects.filter(subject_id=subject_id)
    return events.order_by(F("seal__seq").desc(nulls_first=True), "-at").first()


def timelines(
    *, subject_ids: Iterable[uuid.UUID], verbs: Iterable[str]
) -> dict[uuid.UUID, list[AuditEvent]]:
    """Return what happened to each of some subjects, as far as `verbs` tell of it, oldest first."""
    told: dict[uuid.UUID, list[AuditEvent]] = {each: [] for each in subject_ids}
    found = AuditEvent.objects.filter(subject_id__in=list(told), verb__in=list(verbs))
    for event in found.order_by("at", "pk"):
        told[event.subject_id].append(event)
    return told


def canonical(event: AuditEvent) -> bytes:
    """Return the bytes of an event that its hash covers: JSON, sorted keys, no spaces, UTC."""
    fields = {
        "id": str(event.pk),
        "at": event.at.isoformat(),
        "actor": [event.actor_kind, event.actor_id, event.actor_label],
        "verb": event.verb,
        "subject": [event.subject_type, str(event.subject_id)],
        "data": event.data,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def chain(previous: str, event: AuditEvent) -> str:
    """Return the hash of an event after `previous` (hex)."""
    return hashlib.sha256(bytes.fromhex(previous) + canonical(event)).hexdigest()


@transaction.atomic
def seal_new(*, limit: int = 2000) -> int:
    """Give every unsealed event its place in the chain; return how many. Only one sealer at a time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEAL_LOCK])
        row = cursor.fetchone()
    if not (row and row[0]):
        return 0
    last = AuditSeal.objects.order_by("-seq").first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    seals = []
    for event in AuditEvent.objects.filter(seal=None).order_by("at", "pk")[:limit]:
        seq += 1
        digest = chain(previous, event)
        seals.append(AuditSeal(seq=seq, event=event, previous_hash=previous, hash=digest))
        previous = digest
    AuditSeal.objects.bulk_create(seals)
    return len(seals)


def verify() -> list[str]:
    """Recompute the whole chain; return what is wrong with it, nothing when all is well."""
    wrong: list[str] = []
    previous, expected = GENESIS, 1
    for seal in AuditSeal.objects.select_related("event").order_by("seq").iterator():
        if seal.seq != expected:
            wrong.append(f"seal {expected} is missing")
        if seal.previous_hash != previous:
            wrong.append(f"seal {seal.seq} does not follow its predecessor")
        if seal.hash != chain(seal.previous_hash, seal.event):
            wrong.append(f"event {seal.event_id} at seal {seal.seq} has been changed")
        previous, expected = seal.hash, seal.seq + 1
    return wrong
