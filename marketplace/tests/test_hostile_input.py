"""Every route, taken from the URLconf, against input that no form sends: refusals are fine, crashes are not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import User
from tests.cast import machine, person, proxy_server, rented, template

pytestmark = pytest.mark.django_db

TEXTS = [
    "", "\x00", "a\x00b", "\ud800", "\u202e" + "x" * 300, "💥" * 5000, "<script>alert(1)</script>",
    "'; DROP TABLE rentals_rental; --", "NaN", "Infinity", "-1", "1e400", "9" * 400, "../../etc/passwd",
]  # fmt: skip
# Each part of the routes has a test, and a test's usual time, for itself.
PARTS = 8
FIELDS = [
    "name", "public_key", "scopes", "offer_id", "template_id", "gpu_count", "disk_gb", "quote_id",
    "ssh_key_ids", "gpu_hourly", "cpu_node_hourly", "storage_gb_monthly", "draining", "field", "gpu",
    "minutes", "idempotency_key", "amount", "login", "password", "email", "next", "cursor", "page",
]  # fmt: skip
BODIES: list[tuple[str, bytes]] = [
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"[]"),
    ("application/json", b"null"),
    ("application/json", b'"text"'),
    ("application/json", b"[" * 5000),
    ("application/json", b'{"a":' * 3000 + b"1" + b"}" * 3000),
    ("application/json", b"\xff\xfe\x00"),
    ("text/plain", b"x"),
    ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
    ("application/x-www-form-urlencoded; charset=nonsense", b"name=%ff"),
]


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, path)
        elif isinstance(entry, URLPattern):
            yield path


def addresses(known: dict[str, str]) -> list[str]:
    found = []
    for route in routes(get_resolver()):
        # Django's own admin and allauth's regular expressions are not ours to try.
        if any(sign in route for sign in ("admin/", "^", "(?", "$")):
            continue
        path = route
        for kind in ("uuid", "str", "slug", "int"):
            while f"<{kind}:" in path:
                name = path.split(f"<{kind}:")[1].split(">")[0]
                path = path.replace(f"<{kind}:{name}>", known.get(name, str(uuid.uuid4())))
        found.append("/" + path)
    return sorted(set(found))


@pytest.fixture
def site() -> tuple[Client, dict[str, str]]:
    proxy_server()
    bob, alice = person("bob"), person("alice", usd=50)
    _, offer = machine(bob)
    rental = rented(alice, offer)
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(pk=alice.user_id))
    known = {
        "rental_id": str(rental.pk),
        "offer_id": str(offer.pk),
        "node_id": str(offer.node_id),
        "template_id": str(template().pk),
        "action": "stop",
    }
    return client, known


def crash(answer: Any) -> bool:
    """A 503 with its code is a refusal; anything else from 500 up is a crash."""
    return int(answer.status_code) >= 500 and answer.status_code != 503


# Some thousand requests: every route there is, with everything above.
@pytest.mark.parametrize("part", range(PARTS))
def test_no_input_makes_a_page_or_the_api_crash(
    site: tuple[Client, dict[str, str]], part: int
) -> None:
    client, known = site
    crashes = []

    def look(answer: Any, what: str) -> None:
        if crash(answer):
            crashes.append((answer.request["PATH_INFO"], answer.request["REQUEST_METHOD"], what))

    for address in addresses(known)[part::PARTS]:
        # Each round gives every field another text; together each field meets all of them.
        for turn in range(0, len(TEXTS), 4):
            fields = {name: TEXTS[(turn + i) % len(TEXTS)] for i, name in enumerate(FIELDS)}
            form = {name: text.encode("utf-8", "surrogatepass") for name, text in fields.items()}
            look(client.get(address, form), f"query {turn}")
            look(client.post(address, form), f"form {turn}")
            look(client.post(address, fields, content_type="application/json"), f"json {turn}")
        for kind, body in BODIES:
            look(client.generic("POST", address, body, content_type=kind), repr(body[:20]))
        look(client.put(address, b"{}", content_type="application/json"), "put")
        look(client.delete(address), "delete")
    assert crashes == []


@pytest.mark.parametrize("text", ["a\x00b", "ÿþ", "x" * 5000, "dck__", "dck_a\x00_b", "dcn_\x00_b"])
def test_no_header_makes_the_api_crash(site: tuple[Client, dict[str, str]], text: str) -> None:
    client, known = site
    stranger = Client(raise_request_exception=False)
    assert stranger.get("/api/v1/me/", headers={"X-API-Key": text}).status_code in {400, 401}
    bearer = {"Authorization": f"Bearer {text}"}
    assert stranger.get("/api/v1/me/", headers=bearer).status_code in {400, 401, 403}
    answer = stranger.post("/api/v1/agent/join", {}, "application/json", headers=bearer)
    assert answer.status_code in {400, 401}
    quote = {"quote_id": str(uuid.uuid4())}
    key = {"Idempotency-Key": text}
    answer = client.post("/api/v1/rentals/", quote, "application/json", headers=key)
    assert answer.status_code in {400, 404}
    answer = client.post(f"/quotes/{uuid.uuid4()}/", {"idempotency_key": text})
    assert answer.status_code in {400, 404}
