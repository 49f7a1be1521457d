"""How many of each a person may have, when several are added at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from accounts import services, vault
from accounts.actors import Actor
from accounts.models import ApiKey, Secret, SshKey
from accounts.services import people
from core.errors import Conflict
from rentals import services as rentals
from rentals.launch import read_document
from rentals.models import Template
from rentals.services import templating
from tests import cast

pytestmark = pytest.mark.django_db(transaction=True)


def refusals(add: Callable[[int], Any]) -> list[str]:
    """Return the codes with which some of five adds at one moment are refused."""
    start = Barrier(5)

    def run(number: int) -> str | None:
        start.wait()
        try:
            add(number)
        except Conflict as refusal:
            return refusal.code
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(5) as pool:
        return [code for code in pool.map(run, range(5)) if code]


def template(actor: Actor, number: int) -> Template:
    document = read_document({"name": f"t{number}", "launch": {"image": "ghcr.io/a/b:1"}})
    return rentals.create_template(actor=actor, document=document)


def test_five_adds_at_once_keep_each_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MAX_SECRETS", 3)
    monkeypatch.setattr(people, "MAX_SSH_KEYS", 3)
    monkeypatch.setattr(people, "MAX_API_KEYS", 3)
    monkeypatch.setattr(templating, "MAX_TEMPLATES", 3)
    alice = cast.person("alice")
    lines = [cast.public_ssh_key() for _ in range(5)]
    for code, add in {
        "secret_limit": lambda i: vault.create_secret(actor=alice, name=f"s{i}", value="v"),
        "ssh_key_limit": lambda i: services.add_ssh_key(actor=alice, name="k", public_key=lines[i]),
        "api_key_limit": lambda i: services.create_api_key(actor=alice, name="k"),
        "template_limit": lambda i: template(alice, i),
    }.items():
        assert refusals(add) == [code] * 2
    assert Secret.objects.filter(user_id=alice.user_id).count() == 3
    assert SshKey.objects.filter(user_id=alice.user_id).count() == 3
    assert ApiKey.objects.filter(user_id=alice.user_id).count() == 3
    assert Template.objects.filter(owner_id=alice.user_id).count() == 3
