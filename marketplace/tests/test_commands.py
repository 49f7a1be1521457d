"""The command that makes the demo's people: repeatable, and never in production."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from billing import services as billing
from core import money
from marketplace.env import Mode
from nodes import services as nodes
from nodes.models import NodeKey, PortLease, ProxyServer
from rentals.models import TemplateVersion

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _few_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.DC, "tunnel_ports", "20000-20009")


def setup(**options: Any) -> Any:
    out = StringIO()
    call_command("demo_setup", stdout=out, **options)
    return json.loads(out.getvalue())


def test_the_cast_can_sign_in_alice_has_fifty_dollars_and_bob_a_node_key() -> None:
    told = setup(image="registry.example/demo:2")
    roles = {user["email"]: user["role"] for user in told["users"]}
    assert roles == {
        "alice@demo.local": "RENT",
        "bob@demo.local": "LEASE",
        "carol@demo.local": "BOTH",
        "dora@demo.local": "BOTH",
    }
    for user in told["users"]:
        login = {"login": user["email"], "password": user["password"]}
        assert Client().post("/account/login/", login).headers["Location"] == "/"
    alice = User.objects.get(email="alice@demo.local")
    assert billing.balance_of(owner_id=alice.pk).available == 50 * money.NANO
    key = nodes.authenticate_node_key(told["node_key"])
    assert key.owner.email == "bob@demo.local"
    assert list(User.objects.filter(is_staff=True).values_list("email", flat=True)) == [
        "dora@demo.local"
    ]
    assert TemplateVersion.objects.get().spec.image == "registry.example/demo:2"
    assert (ProxyServer.objects.get().first_port, PortLease.objects.count()) == (20_000, 10)


def test_repeating_it_makes_new_passwords_and_gives_nobody_money_twice() -> None:
    first, second = setup(), setup()
    assert first["users"][0]["password"] != second["users"][0]["password"]
    assert "node_key" not in second
    alice = User.objects.get(email="alice@demo.local")
    assert billing.balance_of(owner_id=alice.pk).available == 50 * money.NANO
    assert (User.objects.count(), NodeKey.objects.count(), PortLease.objects.count()) == (4, 1, 10)
    third = setup(node_key=True, password="one for all")
    assert {user["password"] for user in third["users"]} == {"one for all"}
    assert nodes.authenticate_node_key(third["node_key"]).node_id is None


def test_it_refuses_to_run_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.DC, "mode", Mode.PRODUCTION)
    with pytest.raises(CommandError, match="do not belong in production"):
        setup()
    assert not User.objects.exists()
