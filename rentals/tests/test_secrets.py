"""Secrets in rentals: ids everywhere, values on the wire alone, and what a deleted one stops."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.db import connection

from accounts import services as accounts
from accounts import vault
from accounts.actors import Actor
from accounts.models import Secret
from billing import services as billing
from core.errors import Conflict, Forbidden, Invalid
from hostagent.protocol import StartInstance, StopInstance, WorkloadState
from nodes import gateway, queries
from nodes.machine import Wish
from nodes.models import Workload
from rentals import probing, services
from rentals.launch import read_document
from rentals.models import Rental
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of, pages_of, refusal
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
CANARY = "canary-1c7e='\"\nsecond line"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def template_of(owner: Actor, **launch: Any) -> Any:
    document = {"name": "T", "launch": {"image": "ghcr.example/x/y:1", **launch}}
    return services.create_template(actor=owner, document=read_document(document))


def rented(alice: Actor, offer: Any, template: Any, **changes: Any) -> Rental:
    if not accounts.ssh_keys_of(actor=alice):
        accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    quote = services.quote_offer(actor=alice, offer_id=offer.pk, template_id=template.pk)
    return services.request_rental(
        actor=alice,
        quote_id=quote.pk,
        ssh_key_ids=None,
        idempotency_key=str(quote.pk),
        changes=services.Changes(**changes),
    )


class Secretive(Scene):
    """alice's rental that starts with a secret and a log-in, running."""

    def __init__(self, drain: Drain, traveller: time_machine.Traveller) -> None:
        cast.proxy_server()
        self.drain, self.traveller = drain, traveller
        self.alice, self.bob = cast.person("alice", usd=50), cast.person("bob")
        self.agent, self.offer = cast.machine(self.bob)
        self.token = vault.create_secret(actor=self.alice, name="token", value=CANARY)
        self.login = vault.create_secret(
            actor=self.alice,
            name="login",
            value="pass-canary-1c7e",
            registry_host="ghcr.example",
            registry_user="al",
        )
        template = template_of(
            self.alice, env={"PLAIN": "a=b"}, secrets={"TOKEN": "token"}, registry_login="login"
        )
        self.rental = rented(self.alice, self.offer, template, env={"MORE": "x"})
        self.link = self.agent.connect()
        self.says(WorkloadState.STARTING, WorkloadState.RUNNING)

    def spec(self) -> Any:
        return queries.container_spec(cast.workload_of(self.rental))


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secretive]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Secretive(drain, traveller)
        assert scene.now().state == "running"
        yield scene
        assert [line for line in broken() if "seal" not in line] == []


def test_values_are_joined_for_the_wire_and_are_in_no_table(scene: Secretive) -> None:
    spec = scene.spec()
    assert spec.env_vars == {"PLAIN": "a=b", "MORE": "x"}
    assert spec.secret_env == {"TOKEN": CANARY}
    assert (spec.registry_login.user, spec.registry_login.password) == ("al", "pass-canary-1c7e")
    assert "canary" not in repr(spec.registry_login)
    kept = cast.workload_of(scene.rental).spec
    assert kept["secret_ids"] == {"TOKEN": str(scene.token.pk)}
    assert kept["login_id"] == str(scene.login.pk)
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        for [table] in cursor.fetchall():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', ["%canary-1c7e%"]
            )
            assert (table, cursor.fetchone()) == (table, (0,))
    used = Secret.objects.get(pk=scene.token.pk).last_used_at
    assert used is not None
    answers = api_of(scene.alice).get(f"/api/v1/rentals/{scene.rental.pk}/").content.decode()
    assert "canary" not in answers


def test_a_stopped_container_is_told_no_value(scene: Secretive) -> None:
    scene.stopped()
    spec = scene.spec()
    assert (spec.secret_env, spec.registry_login, spec.secrets_gone) == ({}, None, [])


def test_another_value_comes_with_the_next_start(scene: Secretive) -> None:
    scene.stopped()
    vault.rotate_secret(actor=scene.alice, secret_id=scene.token.pk, value="fresh")
    link = scene.agent.connect()
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    [start] = gateway.tell_news(link)
    assert isinstance(start, StartInstance)
    assert start.spec.secret_env == {"TOKEN": "fresh"}


@pytest.mark.parametrize("which", ["token", "login"])
def test_a_deleted_secret_lets_run_what_runs_and_stops_the_next_start_before_it_costs(
    scene: Secretive, which: str
) -> None:
    secret = scene.token if which == "token" else scene.login
    vault.delete_secret(actor=scene.alice, secret_id=secret.pk)
    scene.traveller.shift(60)
    assert scene.now().state == "running"
    with pytest.raises(Conflict) as refused:
        services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert refused.value.code == "secret_gone"
    with pytest.raises(Conflict) as refused:
        services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    assert refused.value.code == "secret_gone"
    assert scene.now().state == "running"
    scene.stopped()
    spent = billing.bill_of(subject_id=scene.rental.pk)
    held = billing.balance_of(owner_id=scene.alice.user_id)
    answer = api_of(scene.alice).post(f"/api/v1/rentals/{scene.rental.pk}/start/")
    assert refusal(answer) == (409, "secret_gone")
    assert scene.now().state == "stopped"
    assert billing.bill_of(subject_id=scene.rental.pk) == spent
    assert billing.balance_of(owner_id=scene.alice.user_id) == held
    assert cast.workload_of(scene.rental).wish == Wish.STOPPED


def test_an_agent_is_told_what_is_gone_when_it_went_at_the_last_moment(scene: Secretive) -> None:
    vault.delete_secret(actor=scene.alice, secret_id=scene.token.pk)
    vault.delete_secret(actor=scene.alice, secret_id=scene.login.pk)
    spec = scene.spec()
    assert (spec.secret_env, spec.registry_login) == ({}, None)
    assert spec.secrets_gone == ["TOKEN", "the registry's log-in"]
    scene.stopped()
    assert scene.spec().secrets_gone == []
    link = scene.agent.connect()
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    [stop] = gateway.tell_news(link)
    assert isinstance(stop, StopInstance)


@pytest.mark.parametrize(
    ("launch", "changes", "code"),
    [
        ({"secrets": {"A": "nope"}}, {}, "secret_missing"),
        ({"registry_login": "nope"}, {}, "secret_missing"),
        ({"registry_login": "value"}, {}, "secret_kind"),
        ({"registry_login": "elsewhere"}, {}, "registry_login_host"),
        ({}, {"secrets": {"A": "nope"}}, "secret_missing"),
        ({}, {"env": {"1": "x"}}, "template_env_name"),
        ({}, {"env": {"A": "x"}, "secrets": {"A": "value"}}, "template_env_twice"),
        ({}, {"command": []}, "template_command"),
    ],
)
def test_what_cannot_start_is_refused_before_anything_is_held(
    launch: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    vault.create_secret(actor=alice, name="value", value="x")
    vault.create_secret(
        actor=alice, name="elsewhere", value="x", registry_host="docker.io", registry_user="u"
    )
    with pytest.raises(Invalid) as refused:
        rented(alice, offer, template_of(alice, **launch), **changes)
    assert refused.value.code == code
    assert not Rental.objects.exists()
    assert not Workload.objects.exists()
    balance = billing.balance_of(owner_id=alice.user_id)
    assert balance.available == balance.total


def test_one_rental_changes_command_and_variables_by_api_and_the_template_stays() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    vault.create_secret(actor=alice, name="value", value="s")
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    template = template_of(alice, env={"A": "1", "B": "2"}, command=["serve"])
    client = api_of(alice)
    wish = {"offer_id": str(offer.pk), "template_id": str(template.pk)}
    quote = client.post("/api/v1/quotes/", wish, "json").json()["data"]["id"]
    body = {
        "quote_id": quote,
        "env": {"B": " x=y\n", "C": ""},
        "secrets": {"A": "value"},
        "command": ["other", ""],
    }
    key = {"Idempotency-Key": "one"}
    made = client.post("/api/v1/rentals/", body, "json", headers=key)
    assert made.status_code == 201
    spec = queries.container_spec(cast.workload_of(Rental.objects.get()))
    assert spec.env_vars == {"B": " x=y\n", "C": ""}
    assert (spec.secret_env, spec.command) == ({"A": "s"}, ["other", ""])
    again = client.post("/api/v1/rentals/", body, "json", headers=key)
    assert again.json()["data"]["id"] == made.json()["data"]["id"]
    different = client.post("/api/v1/rentals/", {**body, "env": {}}, "json", headers=key)
    assert refusal(different) == (409, "idempotency_key_reused")
    kept = client.get(f"/api/v1/templates/{template.pk}/").json()["data"]["document"]["launch"]
    assert (kept["env"], kept["command"]) == ({"A": "1", "B": "2"}, ["serve"])
    assert json.dumps(kept["secrets"]) == "{}"


def test_a_published_template_takes_the_secret_of_whoever_rents() -> None:
    cast.proxy_server()
    alice, carol = cast.person("alice", usd=50), cast.person("carol", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    vault.create_secret(actor=carol, name="token", value="carols")
    template = template_of(carol, secrets={"T": "token"})
    services.set_public(actor=carol, template_id=template.pk, public=True)
    with pytest.raises(Invalid, match="no secret called token"):
        rented(alice, offer, template, agreed=["token"])
    vault.create_secret(actor=alice, name="token", value="alices")
    rental = rented(alice, offer, template, agreed=["token"])
    assert queries.container_spec(cast.workload_of(rental)).secret_env == {"T": "alices"}


def test_a_key_that_may_only_rent_gets_no_secret_out() -> None:
    cast.proxy_server()
    alice, (_, offer) = cast.person("alice", usd=50), cast.machine(cast.person("bob"))
    vault.create_secret(actor=alice, name="hf", value="canary")
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    key = dataclasses.replace(alice, permissions=frozenset({"rental:create"}))
    quote = services.quote_offer(actor=key, offer_id=offer.pk, template_id=cast.template().pk)

    def rent(actor: Actor) -> Rental:
        return services.request_rental(
            actor=actor,
            quote_id=quote.pk,
            ssh_key_ids=None,
            idempotency_key="k",
            changes=services.Changes(secrets={"T": "hf"}, command=["sh", "-c", "echo $T"]),
        )

    with pytest.raises(Forbidden, match="secret:use"):
        rent(key)
    assert not Rental.objects.exists()
    able = dataclasses.replace(alice, permissions=key.permissions | {"secret:use"})
    with pytest.raises(Forbidden):
        vault.secrets_of(actor=able)
    assert queries.container_spec(cast.workload_of(rent(able))).secret_env == {"T": "canary"}


def test_a_strangers_template_takes_the_secrets_that_its_renter_names_and_no_others() -> None:
    cast.proxy_server()
    alice, mallory = cast.person("alice", usd=50), cast.person("mallory")
    _, offer = cast.machine(cast.person("bob"))
    vault.create_secret(actor=alice, name="hf-token", value="canary")
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    bad = template_of(mallory, secrets={"T": "hf-token"}, start_script="echo $T")
    services.set_public(actor=mallory, template_id=bad.pk, public=True)
    door, pages = api_of(alice), pages_of(alice)
    body = {"offer_id": str(offer.pk), "template_id": str(bad.pk)}
    quote = door.post("/api/v1/quotes/", body, format="json").json()["data"]
    assert quote["reads_secrets"] == quote["secrets_to_agree"] == ["hf-token"]
    page = pages.get(f"/quotes/{quote['id']}/").content.decode()
    assert "This template is somebody else's" in page
    assert '<input type="hidden" name="agreed_secrets" value="hf-token">' in page

    def rent(**more: Any) -> Any:
        return door.post(
            "/api/v1/rentals/",
            {"quote_id": quote["id"], **more},
            format="json",
            HTTP_IDEMPOTENCY_KEY=str(more),
        )

    for more in ({}, {"agreed_secrets": ["other"]}, {"env": {"X": "hf-token"}}):
        assert refusal(rent(**more)) == (409, "secrets_unconfirmed")
    assert not Rental.objects.exists()
    assert rent(agreed_secrets=["hf-token"]).status_code == 201
    spec = queries.container_spec(cast.workload_of(Rental.objects.get()))
    assert spec.secret_env == {"T": "canary"}


def test_the_page_that_shows_what_a_strangers_template_reads_rents_with_it() -> None:
    cast.proxy_server()
    alice, mallory = cast.person("alice", usd=50), cast.person("mallory")
    _, offer = cast.machine(cast.person("bob"))
    vault.create_secret(actor=alice, name="hf", value="canary")
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    hers = template_of(mallory, secrets={"T": "hf"})
    services.set_public(actor=mallory, template_id=hers.pk, public=True)
    quote = services.quote_offer(actor=alice, offer_id=offer.pk, template_id=hers.pk)
    sent = {"idempotency_key": "p", "agreed_secrets": ["hf"]}
    assert pages_of(alice).post(f"/quotes/{quote.pk}/", sent).status_code == 302
    assert Rental.objects.count() == 1
