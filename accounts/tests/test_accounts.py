"""Keys, roles, sign-in, and every way in which they are refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core import mail
from django.test import Client
from rest_framework.test import APIClient

from accounts import services
from accounts.actors import Actor
from accounts.models import ApiKey, SshKey, User
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from core.ids import new_id
from tests import cast
from tests.doors import refusal

pytestmark = pytest.mark.django_db


def test_an_ssh_key_is_known_by_its_fingerprint_and_once() -> None:
    alice = cast.person("alice")
    line = cast.public_ssh_key()
    key = services.add_ssh_key(actor=alice, name="laptop", public_key=f"  {line}\n")
    assert key.fingerprint.startswith("SHA256:")
    with pytest.raises(Conflict) as refused:
        services.add_ssh_key(actor=alice, name="again", public_key=line)
    assert refused.value.code == "ssh_key_duplicate"
    services.remove_ssh_key(actor=alice, key_id=key.pk)
    assert not SshKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "ssh_key_private"),
        ("hello", "ssh_key_unreadable"),
        ("ssh-ed25519 notbase64", "ssh_key_unreadable"),
        ("ssh-ed25519 AAAA\nssh-ed25519 BBBB", "ssh_key_unreadable"),
        ('command="rm -rf /" ssh-ed25519 AAAA', "ssh_key_unreadable"),
        ("ssh-ed25519 " + "A" * 20_000, "ssh_key_unreadable"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "ssh_key_unreadable"),
    ],
)
def test_what_is_no_public_key_is_refused_with_the_reason(text: str, code: str) -> None:
    alice = cast.person("alice")
    with pytest.raises(Invalid) as refused:
        services.add_ssh_key(actor=alice, name="x", public_key=text)
    assert refused.value.code == code
    assert not SshKey.objects.exists()


def test_an_rsa_key_that_no_server_would_take_is_refused_and_a_strong_one_taken() -> None:
    alice = cast.person("alice")
    weak, strong = (rsa.generate_private_key(65537, bits).public_key() for bits in (1024, 2048))
    for key in (weak, strong):
        line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        if key is strong:
            assert services.add_ssh_key(actor=alice, name="x", public_key=line).public_key == line
            continue
        with pytest.raises(Invalid) as refused:
            services.add_ssh_key(actor=alice, name="x", public_key=line)
        assert refused.value.code == "ssh_key_weak"
        assert not SshKey.objects.exists()


def test_a_key_with_strange_signs_in_it_is_refused_though_a_lenient_reader_would_take_it() -> None:
    kind, blob, *_ = cast.public_ssh_key().split()
    with pytest.raises(Invalid) as refused:
        services.add_ssh_key(
            actor=cast.person("alice"), name="x", public_key=f'{kind} {blob[:20]}"!${blob[20:]}'
        )
    assert refused.value.code == "ssh_key_unreadable"
    assert not SshKey.objects.exists()


def test_carol_cannot_remove_alices_key() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    key = services.add_ssh_key(actor=alice, name="x", public_key=cast.public_ssh_key())
    with pytest.raises(NotFound):
        services.remove_ssh_key(actor=carol, key_id=key.pk)
    assert SshKey.objects.count() == 1


def test_roles_are_bundles_of_permissions() -> None:
    renter, host = cast.person("alice", role="RENT"), cast.person("bob", role="LEASE")
    assert renter.may("rental:create")
    assert not renter.may("node:manage")
    assert host.may("node:manage")
    assert not host.may("rental:create")
    with pytest.raises(Forbidden) as refused:
        host.require("rental:create")
    assert refused.value.code == "permission_missing"
    assert Actor.system().may("anything")
    with pytest.raises(Forbidden):
        _ = Actor.system().user_id


def test_an_api_key_is_shown_once_narrowed_by_scopes_and_revocable() -> None:
    alice = cast.person("alice")
    key, plain = services.create_api_key(actor=alice, name="ci", scopes=["wallet:read"])
    assert plain not in str(ApiKey.objects.values().get())
    client = APIClient(HTTP_X_API_KEY=plain)
    assert client.get("/api/v1/wallet/").json()["data"]["total"] == "0.00"
    refused = client.get("/api/v1/rentals/")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_missing")
    bearer = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}")
    assert bearer.get("/api/v1/me/").json()["data"]["permissions"] == ["wallet:read"]
    services.revoke_api_key(actor=alice, key_id=key.pk)
    answer = client.get("/api/v1/wallet/")
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_wrong")
    with pytest.raises(Invalid):
        services.create_api_key(actor=alice, name="x", scopes=["staff"])
    with pytest.raises(NotFound):
        services.revoke_api_key(actor=alice, key_id=new_id())
    with pytest.raises(Unauthenticated):
        services.authenticate_api_key("nonsense")


def test_an_api_key_without_the_scope_reads_no_ssh_keys() -> None:
    alice = cast.person("alice")
    services.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    _, plain = services.create_api_key(actor=alice, name="narrow", scopes=["wallet:read"])
    answer = APIClient().get("/api/v1/ssh-keys/", headers={"X-API-Key": plain})
    assert refusal(answer) == (403, "permission_missing")
    assert "ssh-ed25519" not in answer.content.decode()


def test_keys_over_the_api() -> None:
    alice = cast.person("alice")
    _, plain = services.create_api_key(actor=alice, name="ci")
    client = APIClient(HTTP_X_API_KEY=plain)
    body = {"name": "laptop", "public_key": cast.public_ssh_key()}
    made = client.post("/api/v1/ssh-keys/", body, format="json")
    assert made.status_code == 201
    assert len(client.get("/api/v1/ssh-keys/").json()["data"]) == 1
    assert client.delete(f"/api/v1/ssh-keys/{made.json()['data']['id']}/").status_code == 204
    made = client.post("/api/v1/api-keys/", {"name": "second"}, format="json")
    assert made.json()["data"]["key"].startswith("dck_")
    assert len(client.get("/api/v1/api-keys/").json()["data"]) == 2
    assert client.delete(f"/api/v1/api-keys/{made.json()['data']['id']}/").status_code == 204
    refused = client.post("/api/v1/ssh-keys/", {}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert "name" in refused.json()["data"]["fields"]


def test_nobody_gets_in_without_a_key_or_a_session() -> None:
    for path in ("wallet/", "rentals/", "nodes/", "me/", "ssh-keys/", "earnings/"):
        answer = APIClient().get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (401, "auth_required"), path
    assert APIClient().get("/api/v1/offers/").status_code == 200


def test_signing_up_sends_one_mail_and_signing_in_needs_it_confirmed() -> None:
    # Redis outlives a run and counts what one machine and one address do: others each time.
    mark = new_id().hex
    client = Client(REMOTE_ADDR=f"2001:db8::{mark[-4:]}:{mark[-8:-4]}")
    address = f"new-{mark}@example.org"
    form = {
        "email": address,
        "password1": "correct horse 9",
        "password2": "correct horse 9",
    }
    assert client.post("/account/signup/", form).status_code == 302
    assert len(mail.outbox) == 1
    user = User.objects.get(email=address)
    assert user.role == "BOTH"
    link = next(word for word in mail.outbox[0].body.split() if "/account/confirm-email/" in word)
    path = link.partition("example.com")[2] or "/" + link.split("/", 3)[3]
    client.post(path)
    login = {"login": address, "password": "correct horse 9"}
    assert client.post("/account/login/", login).status_code == 302
    assert client.get("/rentals/").status_code == 200


def test_pages_of_keys() -> None:
    alice = cast.person("alice")
    client = Client()
    client.force_login(
        User.objects.get(pk=alice.user_id), "django.contrib.auth.backends.ModelBackend"
    )
    form = {"name": "laptop", "public_key": cast.public_ssh_key()}
    assert client.post("/ssh-keys/?next=/wallet/", form).headers["Location"] == "/wallet/"
    assert client.post("/ssh-keys/?next=https://evil.example/", form).status_code == 409
    key = SshKey.objects.get()
    assert client.post(f"/ssh-keys/{key.pk}/remove/").status_code == 302
    page = client.post("/api-keys/", {"name": "ci"})
    assert b"dck_" in page.content
    api_key = ApiKey.objects.get()
    assert client.post(f"/api-keys/{api_key.pk}/revoke/").status_code == 302
    assert client.get("/api-keys/").status_code == 200
    assert client.get("/wallet/").status_code == 200
    assert client.get(f"/rentals/{new_id()}/").status_code == 404
