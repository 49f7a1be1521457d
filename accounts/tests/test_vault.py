"""Secrets go in and never come out: through the API, in the database, in the audit log."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine
from django.db import connection

from accounts import vault
from accounts.models import Secret
from audit.models import AuditEvent
from core import secrets
from core.errors import Conflict, Invalid
from core.ids import new_id
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/secrets/"
CANARY = "canary-7f3a 'q' \"d\"\nline two = x"


def test_a_value_is_written_listed_by_name_and_never_shown() -> None:
    alice = cast.person("alice")
    client = api_of(alice)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False):
        made = client.post(ROOT, {"name": "hf-token", "value": CANARY}, "json")
    assert made.status_code == 201
    [row] = client.get(ROOT).json()["data"]
    assert row == {
        "id": str(Secret.objects.get().pk),
        "name": "hf-token",
        "registry_host": None,
        "registry_user": None,
        "version": 1,
        "created_at": "2026-11-21T12:00:00Z",
        "changed_at": "2026-11-21T12:00:00Z",
        "last_used_at": None,
    }
    assert "canary" not in made.content.decode() + client.get(ROOT).content.decode()
    assert vault.reveal([Secret.objects.get().pk]) == {Secret.objects.get().pk: CANARY}


def test_the_database_and_the_audit_log_hold_it_encrypted_or_not_at_all() -> None:
    alice = cast.person("alice")
    secret = vault.create_secret(actor=alice, name="x", value="canary")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(s)::text FROM accounts_secret s")
        [[row]] = cursor.fetchall()
    assert "canary" not in row
    assert secrets.unseal(json.loads(row)["sealed"]) == "canary"
    events = [json.dumps(event.data) for event in AuditEvent.objects.filter(subject_type="secret")]
    assert events == [json.dumps({"name": "x", "version": 1})]
    assert "canary" not in repr(secret) + repr(vault.Login("h", "u", "canary"))


def test_another_value_is_another_version_and_deleting_forgets() -> None:
    alice = cast.person("alice")
    secret = vault.create_secret(actor=alice, name="x", value="old")
    client = api_of(alice)
    told = client.put(f"{ROOT}{secret.pk}/", {"value": " new\n"}, "json").json()["data"]
    assert told["version"] == 2
    assert vault.reveal([secret.pk]) == {secret.pk: " new\n"}
    assert client.delete(f"{ROOT}{secret.pk}/").status_code == 204
    assert vault.reveal([secret.pk]) == {}
    assert client.get(ROOT).json()["data"] == []
    assert [e.verb for e in AuditEvent.objects.filter(subject_type="secret").order_by("at")] == [
        "secret.created",
        "secret.rotated",
        "secret.deleted",
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "", "value": "x"}, "invalid"),
        ({"name": "no spaces", "value": "x"}, "secret_name"),
        ({"name": "x" * 65, "value": "x"}, "secret_name"),
        ({"name": "x", "value": ""}, "invalid"),
        ({"name": "x", "value": "x" * 16_385}, "secret_value"),
        ({"name": "x", "value": "\ud800"}, "invalid"),
        ({"name": "x"}, "invalid"),
        ({"name": "x", "value": ["canary"]}, "invalid"),
        ({"name": "x", "value": "x", "registry_host": "ghcr.example"}, "secret_registry"),
        ({"name": "x", "value": "x", "registry_user": "me"}, "secret_registry"),
        ({"name": "x", "value": "x", "registry_host": "http://h", "registry_user": "u"}, "secret_registry"),
        ({"name": "x", "value": "x", "registry_host": "h:1", "registry_user": "a\tb"}, "secret_registry"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(body: dict[str, Any], code: str) -> None:
    answer = api_of(cast.person("alice")).post(
        ROOT, json.dumps(body), content_type="application/json"
    )
    assert refusal(answer) == (400, code)
    assert "canary" not in answer.content.decode()
    assert not Secret.objects.exists()


def test_a_nul_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        vault.create_secret(actor=cast.person("alice"), name="x", value="a\x00b")
    assert refused.value.code == "secret_value"


def test_a_name_is_taken_once_by_each_person_and_there_is_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    for person in (alice, carol):
        vault.create_secret(actor=person, name="x", value="1")
    client = api_of(alice)
    assert refusal(client.post(ROOT, {"name": "x", "value": "2"}, "json")) == (
        409,
        "secret_name_taken",
    )
    monkeypatch.setattr(vault, "MAX_SECRETS", 1)
    assert refusal(client.post(ROOT, {"name": "y", "value": "2"}, "json")) == (409, "secret_limit")
    assert Secret.objects.count() == 2


def test_a_secret_is_its_owners_alone_even_beside_staff() -> None:
    secret = vault.create_secret(actor=cast.person("alice"), name="x", value="canary")
    for person in (cast.person("carol"), cast.person("dora", is_staff=True)):
        client = api_of(person)
        assert client.get(ROOT).json()["data"] == []
        put = client.put(f"{ROOT}{secret.pk}/", {"value": "mine"}, "json")
        assert refusal(put) == (404, "secret_unknown")
        assert refusal(client.delete(f"{ROOT}{secret.pk}/")) == (404, "secret_unknown")
    secret.refresh_from_db()
    assert (secret.version, vault.reveal([secret.pk])) == (1, {secret.pk: "canary"})
    bob = api_of(cast.person("bob", role="LEASE"))
    assert refusal(bob.get(ROOT)) == (403, "permission_missing")


def test_secrets_are_found_by_name_and_kind_and_marked_as_used() -> None:
    alice = cast.person("alice")
    value = vault.create_secret(actor=alice, name="v", value="1")
    login = vault.create_secret(
        actor=alice, name="r", value="pw", registry_host="ghcr.example", registry_user="alice"
    )
    assert vault.find_secrets(actor=alice, names={"A": "v"}, login="r") == ({"A": value.pk}, login)
    assert vault.reveal_login(login.pk) == vault.Login("ghcr.example", "alice", "pw")
    assert vault.reveal_login(new_id()) is None
    for names, wanted, code in (
        ({"A": "nope"}, None, "secret_missing"),
        ({}, "v", "secret_kind"),
        ({"A": "r"}, None, "secret_kind"),
    ):
        with pytest.raises(Invalid) as refused:
            vault.find_secrets(actor=alice, names=names, login=wanted)
        assert refused.value.code == code
    vault.use_secrets(ids=[value.pk, value.pk])
    value.refresh_from_db()
    assert value.last_used_at is not None
    with pytest.raises(Conflict) as gone:
        vault.use_secrets(ids=[value.pk, new_id()])
    assert gone.value.code == "secret_gone"


def test_the_admin_shows_no_value() -> None:
    secret = vault.create_secret(actor=cast.person("alice"), name="x", value="canary")
    dora = pages_of(cast.person("dora", is_staff=True))
    listed = dora.get("/admin/accounts/secret/")
    shown = dora.get(f"/admin/accounts/secret/{secret.pk}/change/")
    assert (listed.status_code, shown.status_code) == (200, 200)
    page = listed.content.decode() + shown.content.decode()
    assert "canary" not in page
    assert secret.sealed not in page
