"""Where machines may be sent for an image: into the world, and into nobody's network."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.conf import settings

from accounts import services as accounts
from accounts.actors import Actor
from core.errors import DomainError, Invalid
from nodes.models import Offer
from rentals import preflight, services
from rentals.launch import read_document
from rentals.models import Quote, Rental, Template, TemplateVersion
from rentals.registry import may_be_asked
from rentals.services.launching import require_outside
from tests import cast
from tests.doors import api_of, refusal

pytestmark = pytest.mark.django_db
INSIDE = [
    "127.0.0.1/x:1",
    "127.0.0.1:2375/x:1",
    "10.1.2.3/x",
    "172.16.0.1:5000/x",
    "192.168.1.1/admin:1",
    "169.254.169.254/latest:1",
    "168.63.129.16/x:1",
    "100.64.0.1/x",
    "0.0.0.0:1/x",
    "255.255.255.255/x",
    "224.0.0.1/x",
    "127.1/x",
    "0x7f.1/x",
    "2130706433:80/x",
    "010.0.0.1/x",
    "[::1]:5000/x",
    "[fe80::1]/x",
    "[fd00:ec2::254]/x",
    "[::ffff:10.0.0.1]/x",
    "localhost/x",
    "LOCALHOST:5000/x",
    "a.localhost/x",
    "nas:5000/x",
    "printer.local/x",
    "metadata.google.internal/x",
    "router.lan/x",
    "x.home.arpa/x",
]
OUTSIDE = [
    "debian:12",
    "team/app",
    "docker.io/team/app:1",
    "ghcr.io/m/x@sha256:" + "0" * 64,
    "registry.example.org:5000/a/b:1",
    "8.8.8.8/x:1",
    "[2606:4700::1111]:443/x",
    "xn--80ak6aa92e.xn--p1ai/x",
    "localhost.example.org/x",
]


@pytest.fixture(autouse=True)
def nobody_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.DC, "trusted_registries", [])


@pytest.fixture
def alice() -> Actor:
    alice = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    return alice


def told(image: str) -> dict[str, Any]:
    return {"name": "T", "slug": "t", "launch": {"image": image}}


@pytest.mark.parametrize("image", INSIDE)
def test_a_name_of_the_inside_is_refused_by_its_spelling(image: str) -> None:
    with pytest.raises(Invalid) as refused:
        require_outside(image)
    assert refused.value.code == "template_image_host"
    assert image in refused.value.message


@pytest.mark.parametrize("image", OUTSIDE)
def test_a_name_of_the_world_is_taken(image: str) -> None:
    require_outside(image)


def test_a_port_that_is_none_is_no_image() -> None:
    with pytest.raises(Invalid) as refused:
        require_outside("registry.example.org:99999/x")
    assert refused.value.code == "template_image"


@pytest.mark.parametrize(
    "trusted",
    ["http://127.0.0.1:5000", "https://127.0.0.1:5000", "http://nas", "https://nas"],
)
def test_a_registry_of_the_deployments_own_is_taken_at_its_port(
    monkeypatch: pytest.MonkeyPatch, trusted: str
) -> None:
    monkeypatch.setattr(settings.DC, "trusted_registries", [trusted])
    host = trusted.rpartition("/")[2]
    # Without a port `nas/x` would be Docker Hub's.
    port = "" if ":" in host else {"http": ":80", "https": ":443"}[trusted.partition(":")[0]]
    assert may_be_asked(f"{host}{port}/x:1")
    assert not may_be_asked("127.0.0.1:5001/x:1")
    assert not may_be_asked("nas:2375/x:1")


def test_a_template_is_neither_made_nor_changed_to_lead_inside(alice: Actor) -> None:
    client = api_of(alice)
    answer = client.post("/api/v1/templates/", told("192.168.1.1/admin:1"), "json")
    assert refusal(answer) == (400, "template_image_host")
    assert not Template.objects.exists()
    made = client.post("/api/v1/templates/", told("debian:12"), "json").json()["data"]
    path = f"/api/v1/templates/{made['template']['id']}/versions/"
    answer = client.post(path, told("localhost:2375/x:1"), "json")
    assert refusal(answer) == (400, "template_image_host")
    assert [version.number for version in TemplateVersion.objects.all()] == [1]


def test_a_template_of_a_registry_that_is_trusted_no_more_is_refused_with_the_price(
    alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, offer = cast.machine(cast.person("bob"))
    with monkeypatch.context() as before:
        before.setattr(settings.DC, "trusted_registries", ["http://10.0.0.7:5000"])
        document = read_document(told("10.0.0.7:5000/team/app:1"))
        template = services.create_template(actor=alice, document=document)
    body = {"offer_id": str(offer.pk), "template_id": str(template.pk)}
    answer = api_of(alice).post("/api/v1/quotes/", body, "json")
    assert refusal(answer) == (400, "template_image_host")
    assert not Quote.objects.exists()


def test_a_name_that_leads_inside_blocks_the_rent(
    alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.proxy_server()
    cast.machine(cast.person("bob"))
    real = socket.getaddrinfo

    def leading_inside(host: Any, *more: Any, **also: Any) -> Any:
        return real("10.0.0.7" if host == "inside.example.org" else host, *more, **also)

    monkeypatch.setattr(socket, "getaddrinfo", leading_inside)
    template = services.create_template(
        actor=alice, document=read_document(told("inside.example.org/team/app:1"))
    )
    quote = services.quote_offer(
        actor=alice, offer_id=Offer.objects.get().pk, template_id=template.pk
    )
    plan = services.plan_preflight_of_quote(actor=alice, quote_id=quote.pk)
    flight = preflight.run(actor=alice, plan=plan)
    [manifest] = [check for check in flight.checks if check["code"] == "manifest"]
    assert (flight.verdict, manifest["measured"]) == ("fail", "registry_address_refused")
    with pytest.raises(DomainError, match="Nobody is sent to this registry") as refused:
        services.request_rental(
            actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key="inside"
        )
    assert refused.value.code == "preflight_failed"
    assert not Rental.objects.exists()
