"""The log cannot be changed, and a change behind its back shows."""

from __future__ import annotations

import threading
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from accounts.actors import Actor
from audit import services, tasks
from audit.models import AuditEvent, AuditSeal
from core.ids import new_id
from tests import cast


def note(verb: str = "thing.done", **data: object) -> AuditEvent:
    subject_id = new_id()
    services.record(
        actor=Actor.system(), verb=verb, subject_type="thing", subject_id=subject_id, data=data
    )
    return AuditEvent.objects.get(subject_id=subject_id)


def behind_the_guards(statement: str, *values: uuid.UUID) -> None:
    """Do what only somebody with the database's own power could."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("audit_auditevent", "audit_auditseal"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        for table in ("audit_auditevent", "audit_auditseal"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def verified() -> str:
    out = StringIO()
    call_command("audit_verify", stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db
def test_what_a_person_did_stands_in_the_timeline_of_the_thing_oldest_first() -> None:
    alice = cast.person("alice")
    subject_id = new_id()
    for verb in ("thing.made", "thing.used", "thing.ended"):
        services.record(
            actor=alice, verb=verb, subject_type="thing", subject_id=subject_id, data={"n": 1}
        )
    found = services.timeline(subject_id=subject_id)
    assert [event.verb for event in found] == ["thing.made", "thing.used", "thing.ended"]
    assert {(e.actor_kind, e.actor_id, e.actor_label) for e in found} == {
        ("user", str(alice.user_id), "alice")
    }
    assert services.timeline(subject_id=new_id()) == []


@pytest.mark.django_db
def test_every_event_is_sealed_once_and_the_chain_verifies() -> None:
    events = [note(n=n) for n in range(3)]
    tasks.seal_events()
    tasks.seal_events()
    seals = list(AuditSeal.objects.order_by("seq"))
    assert [seal.event_id for seal in seals] == [event.pk for event in events]
    assert [seal.seq for seal in seals] == [1, 2, 3]
    assert seals[0].previous_hash == services.GENESIS
    assert verified() == "3 events, chain intact."
    note()
    assert services.seal_new(limit=1) == 1
    assert services.verify() == []


@pytest.mark.django_db(transaction=True)
def test_nothing_is_recorded_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match=r"thing\.done recorded outside a transaction"):
        note()
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditseal SET hash = 'x'",
        "DELETE FROM audit_auditseal",
        "TRUNCATE audit_auditseal",
    ],
)
def test_the_database_itself_refuses_to_change_a_seal(statement: str) -> None:
    note()
    services.seal_new()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute(statement)
    assert (AuditEvent.objects.count(), AuditSeal.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_an_event_that_was_changed_behind_the_guards_is_named() -> None:
    note(amount=1)
    second = note(amount=2)
    services.seal_new()
    behind_the_guards(
        "UPDATE audit_auditevent SET data = '{\"amount\": 9}' WHERE id = %s", second.pk
    )
    assert services.verify() == [f"event {second.pk} at seal 2 has been changed"]
    with pytest.raises(CommandError, match=str(second.pk)):
        verified()


@pytest.mark.django_db
def test_an_event_that_was_taken_out_leaves_a_gap() -> None:
    for _ in range(3):
        note()
    services.seal_new()
    behind_the_guards("DELETE FROM audit_auditseal WHERE seq = 2")
    assert services.verify() == [
        "seal 2 is missing",
        "seal 3 does not follow its predecessor",
    ]


@pytest.mark.django_db(transaction=True)
def test_only_one_sealer_works_at_a_time() -> None:
    with transaction.atomic():
        note()
    sealed: list[int] = []

    def other() -> None:
        try:
            sealed.append(services.seal_new())
        finally:
            connection.close()

    with transaction.atomic():
        assert services.seal_new() == 1
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
    assert sealed == [0]
    assert [seal.seq for seal in AuditSeal.objects.all()] == [1]
