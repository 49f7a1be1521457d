"""What alice types and reads: the real platform behind a real socket, and the machine played by the protocol."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer
from typer.testing import CliRunner, Result

from accounts import services as accounts
from accounts import vault
from accounts.actors import Actor
from nodes import queries
from nodes.market import Offer
from rentals import services as rentals
from rentals.launch import read_document
from rentals.models import Rental
from sdk import ApiError, Client, cli
from tests import cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    for name in ("DCOMPUTE_SERVER", "DCOMPUTE_KEY"):
        # Set first, so that what a command writes into it is taken back afterwards.
        monkeypatch.setenv(name, "")


@pytest.fixture
def alice() -> Actor:
    actor = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=actor, name="laptop", public_key=cast.public_ssh_key())
    return actor


@pytest.fixture
def key(alice: Actor, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Alice's key; the platform is named by the environment."""
    monkeypatch.setenv("DCOMPUTE_SERVER", live_server.url)
    plain = accounts.create_api_key(actor=alice, name="cli", scopes=None)[1]
    monkeypatch.setenv("DCOMPUTE_KEY", plain)
    return plain


@pytest.fixture
def offer() -> Offer:
    cast.proxy_server()
    cast.template()
    return cast.machine(cast.person("bob"), gpus=2)[1]


def typed(*words: str, answers: str = "") -> Result:
    return CliRunner().invoke(cli.app, words, input=answers)


def told(*words: str) -> Any:
    """Return what a command says to machines."""
    done = typed(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_search_is_the_one_of_the_api(offer: Offer, key: str) -> None:
    found = told(
        "search", "gpu_model=RTX 4090", "vram_mib_min=20000", "--gpus", "2", "--hours", "8"
    )
    assert [row["id"] for row in found["rows"]] == [str(offer.pk)]
    with Client(os.environ["DCOMPUTE_SERVER"]) as anybody:
        asked = {"gpu_model": "RTX 4090", "vram_mib_min": 20_000, "gpus": 2, "hours": 8}
        assert anybody.search(**asked, limit=20) == found
        assert [row["id"] for row in anybody.offers(limit=1)] == [str(offer.pk)]
    shown = typed("search", "--gpus", "2").stdout
    assert "2 × RTX 4090" in shown
    assert "1 of 1 that can start now." in shown
    nothing = typed("search", "country=NO").stdout
    assert "Without country: 1 would fit." in nothing


def test_a_word_that_is_no_filter_is_refused_before_anything_is_asked(key: str) -> None:
    assert typed("search", "cheap").exit_code == 2
    assert typed("search", "gpus=2", "--gpus", "1").exit_code == 2
    unknown = typed("search", "colour=red")
    assert (unknown.exit_code, "[filter_unknown]" in unknown.stderr) == (1, True)


def test_alice_checks_rents_looks_and_ends(offer: Offer, key: str) -> None:
    # Nobody serves the image here, and scripts see it.
    looked = typed("check", str(offer.pk), "--gpus", "1", "--disk-gb", "20", "--json")
    seen = json.loads(looked.stdout)
    assert (looked.exit_code, seen["preflight"]["verdict"]) == (1, "fail")
    assert (seen["quote"]["gpu_count"], seen["quote"]["disk_gb"]) == (1, 20)
    asked = typed("rent", str(offer.pk), "--gpus", "1", "--no-wait", answers="n\n")
    assert asked.exit_code == 1
    assert not Rental.objects.exists()
    done = typed("rent", str(offer.pk), "--gpus", "1", "--no-wait", answers="y\n")
    assert done.exit_code == 0, done.output
    rental = Rental.objects.get()
    assert f"ssh -p {rental.ports['22']} root@127.0.0.1" in done.stdout
    assert [row["id"] for row in told("list")] == [str(rental.pk)]
    assert "atlas-03" in typed("list").stdout
    # The beginning of its id is enough.
    assert told("show", str(rental.pk)[:13])["state"] == rental.state
    early = typed("ssh", str(rental.pk))
    assert (early.exit_code, "[rental_not_running]" in early.stderr) == (1, True)
    assert typed("end", str(rental.pk), answers="n\n").exit_code == 1
    ending = told("end", str(rental.pk), "--yes", "--no-wait")
    assert (ending["state"], ending["cost_so_far"]) == ("stopping", "0.00")
    assert [row["id"] for row in told("list", "--all")] == [str(rental.pk)]
    assert "total" in typed("bill", str(rental.pk)).stdout
    assert typed("logs", str(rental.pk)).exit_code == 0
    usd = told("balance")[0]
    assert (usd["currency"], usd["total"]) == ("USD", "50.00")
    assert "50.00" in typed("balance").stdout


def test_an_action_that_is_not_valid_now_is_told_with_its_code(offer: Offer, key: str) -> None:
    assert typed("rent", str(offer.pk), "-y", "--no-wait").exit_code == 0
    refused = typed("start", str(Rental.objects.get().pk))
    assert refused.exit_code == 1
    assert "[" in refused.stderr
    unknown = typed("show", "ffffffff")
    assert "None of your rentals begins with ffffffff" in unknown.stderr


def test_a_key_is_kept_for_its_own_platform_and_for_its_owner_alone(
    key: str, live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCOMPUTE_SERVER", "")
    monkeypatch.setenv("DCOMPUTE_KEY", "")
    assert "dcompute login --server" in typed("balance").stderr
    done = typed("login", "--server", live_server.url, answers=f"{key}\n")
    assert done.exit_code == 0, done.output
    assert "You are alice-" in done.stdout
    assert key not in done.output
    kept = tmp_path / "dcompute" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    monkeypatch.setenv("DCOMPUTE_SERVER", "")
    monkeypatch.setenv("DCOMPUTE_KEY", "")
    assert told("balance")
    # Another platform is not shown the key of this one.
    monkeypatch.setenv("DCOMPUTE_SERVER", live_server.url.replace("localhost", "127.0.0.1"))
    assert "[auth_required]" in typed("balance").stderr


def test_a_wrong_key_is_not_kept(live_server: LiveServer, tmp_path: Path) -> None:
    done = typed("login", "--server", live_server.url, answers="dck_wrong\n")
    assert (done.exit_code, "Make an API key" in done.stderr) == (1, True)
    assert not (tmp_path / "dcompute").exists()


def test_each_request_can_be_shown_as_a_line_of_curl_without_the_key(
    offer: Offer, key: str
) -> None:
    done = typed("--curl", "check", str(offer.pk))
    assert '-H "X-API-Key: $DCOMPUTE_KEY"' in done.stderr
    assert f"/api/v1/offers/{offer.pk}/preflight/" in done.stderr
    assert key not in done.output


def test_words_of_a_host_do_nothing_to_the_terminal(offer: Offer, key: str) -> None:
    Offer.objects.update(gpu_model="\x1b[2J[red]RTX[/red]")
    shown = typed("search", "--gpus", "1").stdout
    assert "\x1b[2J" not in shown
    assert "?[2J[red]RTX[/red]" in shown


def test_a_template_that_is_not_there_is_named(offer: Offer, key: str) -> None:
    done = typed("rent", str(offer.pk), "-t", "nothing", "-y")
    assert (done.exit_code, "There is no template nothing." in done.stderr) == (1, True)


@pytest.fixture
def hers(alice: Actor) -> str:
    """A public template of mallory's that reads two secrets of whoever rents it; alice has both."""
    for name in ("hf-token", "wandb"):
        vault.create_secret(actor=alice, name=name, value="canary")
    mallory = cast.person("mallory")
    launch = {"image": "ghcr.example/x/y:1", "secrets": {"T": "hf-token", "W": "wandb"}}
    document = read_document({"name": "Hers", "launch": launch})
    made = rentals.create_template(actor=mallory, document=document)
    rentals.set_public(actor=mallory, template_id=made.pk, public=True)
    return str(made.pk)


def test_a_strangers_template_gets_secrets_after_alice_has_read_which(
    offer: Offer, key: str, hers: str
) -> None:
    rent = ("rent", str(offer.pk), "-t", hers, "--no-wait")
    shy = typed(*rent, answers="n\n")
    assert shy.exit_code == 1
    assert "somebody else's" in shy.stderr
    assert "can send them anywhere: hf-token, wandb." in shy.stderr
    # Trusting it is one question, renting at this price another.
    assert typed(*rent, answers="y\nn\n").exit_code == 1
    assert not Rental.objects.exists()
    done = typed(*rent, answers="y\ny\n")
    assert done.exit_code == 0, done.output
    spec = queries.container_spec(cast.workload_of(Rental.objects.get()))
    assert spec.secret_env == {"T": "canary", "W": "canary"}


def test_without_asking_each_secret_for_a_strangers_template_is_named(
    offer: Offer, key: str, hers: str
) -> None:
    rent = ("rent", str(offer.pk), "-t", hers, "--no-wait", "--yes")
    for trusted in ((), ("--trust-with", "wandb"), ("--trust-with", "other")):
        refused = typed(*rent, *trusted)
        assert refused.exit_code == 1
        assert "[secrets_unconfirmed]" in refused.stderr
        assert "--trust-with hf-token" in refused.stderr
    assert not Rental.objects.exists()
    done = typed(*rent, "--trust-with", "wandb", "--trust-with", "hf-token")
    assert done.exit_code == 0, done.output
    spec = queries.container_spec(cast.workload_of(Rental.objects.get()))
    assert spec.secret_env == {"T": "canary", "W": "canary"}


def test_a_template_of_her_own_gets_her_secrets_unasked_and_says_which(
    offer: Offer, key: str, alice: Actor
) -> None:
    vault.create_secret(actor=alice, name="hf-token", value="canary")
    launch = {"image": "ghcr.example/x/y:1", "secrets": {"T": "hf-token"}}
    made = rentals.create_template(
        actor=alice, document=read_document({"name": "Mine", "launch": launch})
    )
    done = typed("rent", str(offer.pk), "-t", str(made.pk), "--no-wait", "--yes")
    assert done.exit_code == 0, done.output
    assert "It starts with these secrets of yours: hf-token." in done.stderr
    assert queries.container_spec(cast.workload_of(Rental.objects.get())).secret_env == {
        "T": "canary"
    }


def test_waiting_tells_each_look_and_ends_where_a_rental_rests(offer: Offer, key: str) -> None:
    assert typed("rent", str(offer.pk), "-y", "--no-wait").exit_code == 0
    rental = Rental.objects.get()
    with Client(os.environ["DCOMPUTE_SERVER"], key) as renter:
        with pytest.raises(ApiError) as refused:
            renter.wait(str(rental.pk), seconds=0)
        assert refused.value.code == "still_moving"
        Rental.objects.update(state="stopped")
        seen: list[str] = []
        renter.wait(str(rental.pk), tell=lambda row: seen.append(row["state"]))
    assert seen == ["stopped"]
