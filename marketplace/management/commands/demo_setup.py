"""Make the demo's cast, its proxy server and its template; print what a person needs to know as JSON."""

from __future__ import annotations

import json
import secrets
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services as accounts
from accounts.actors import Actor
from accounts.models import User
from billing import services as billing
from core import money
from marketplace.env import Mode
from nodes import services as nodes
from nodes.models import NodeKey
from rentals import services as rentals
from rentals.launch import read_document

CAST: dict[str, dict[str, Any]] = {
    "alice": {"name": "Alice", "role": "RENT"},
    "bob": {"name": "Bob", "role": "LEASE"},
    "carol": {"name": "Carol", "role": "BOTH"},
    "dora": {"name": "Dora", "role": "BOTH", "is_staff": True},
}
ALICE_USD = 50


class Command(BaseCommand):
    help = "Prepare the demo. Repeating it makes fresh passwords and changes nothing else."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--image", default="127.0.0.1:5000/dcompute/demo:1")
        parser.add_argument("--password", default="", help="one password for everybody")
        parser.add_argument("--node-key", action="store_true", help="make a fresh node key for bob")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.DC.mode is Mode.PRODUCTION:
            raise CommandError("The demo's people do not belong in production.")
        users = [self._person(key, options["password"]) for key in CAST]
        self._money()
        first, last = settings.DC.port_range
        nodes.register_proxy_server(
            name="local",
            public_host=settings.DC.tunnel_host,
            server_host=settings.DC.tunnel_server_host,
            server_port=settings.DC.tunnel_bind_port,
            first=first,
            last=last,
        )
        rentals.upsert_official_template(
            actor=Actor.system(),
            document=read_document(
                {
                    "slug": "debian-ssh",
                    "name": "Debian with SSH",
                    "description": "Debian 12 with an SSH server, Python and a small web page on port 8888.",
                    "launch": {
                        "image": options["image"],
                        "ports": [{"port": 8888, "label": "Web page", "kind": "http"}],
                    },
                }
            ),
        )
        told: dict[str, Any] = {"users": users}
        if options["node_key"] or not NodeKey.objects.exists():
            bob = accounts.actor_of(User.objects.get(email="bob@demo.local"))
            _, told["node_key"] = nodes.create_node_key(actor=bob, name="this-machine")
        self.stdout.write(json.dumps(told))

    def _person(self, key: str, password: str) -> dict[str, str]:
        email = f"{key}@demo.local"
        password = password or secrets.token_urlsafe(9)
        user = User.objects.filter(email=email).first()
        if user is None:
            user = accounts.create_user(email=email, password=password, **CAST[key])
        user.set_password(password)
        user.save(update_fields=["password"])
        EmailAddress.objects.update_or_create(
            user=user, email=email, defaults={"verified": True, "primary": True}
        )
        return {"email": email, "password": password, "role": str(CAST[key]["role"])}

    def _money(self) -> None:
        alice = User.objects.get(email="alice@demo.local")
        billing.deposit(
            actor=Actor.system(),
            owner_id=alice.pk,
            amount=ALICE_USD * money.NANO,
            idem="demo-alice",
        )
