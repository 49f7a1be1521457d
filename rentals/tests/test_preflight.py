"""Before money moves: what a pre-flight finds, what it blocks, what it pins, and how its prediction is kept."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.core.cache import cache

from accounts import services as accounts
from accounts import vault
from accounts.actors import Actor
from core import clock
from core.errors import DomainError
from core.ids import new_id
from hostagent.protocol import ImageCache, PullRecord, WorkloadState
from nodes.models import Offer, PortLease
from rentals import preflight, probing, services, tasks
from rentals.models import Preflight, Quote, Rental, Start
from rentals.registry import Login
from rentals.registry.shapes import chains_of
from rentals.tests.registries import Registry, diff, serving
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
CODES = [
    "offer",
    "price",
    "disk",
    "ports",
    "manifest",
    "registry_login",
    "architecture",
    "cuda",
    "size",
]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    cache.clear()
    with serving() as running:
        monkeypatch.setattr(settings.DC, "trusted_registries", [running.url])
        yield running


@pytest.fixture
def alice() -> Actor:
    alice = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    return alice


@pytest.fixture
def agent() -> cast.ProtocolAgent:
    cast.proxy_server()
    agent, _ = cast.machine(cast.person("bob"))
    return agent


def quoted(alice: Actor, image: str) -> Quote:
    offer = Offer.objects.get()
    template = cast.template(image)
    return services.quote_offer(actor=alice, offer_id=offer.pk, template_id=template.pk)


def flown(alice: Actor, quote: Quote, login: Login | None = None) -> Preflight:
    plan = services.plan_preflight_of_quote(actor=alice, quote_id=quote.pk)
    return preflight.run(actor=alice, plan=plan, login=login)


def rented(alice: Actor, quote: Quote) -> Rental:
    return services.request_rental(
        actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key=str(new_id())
    )


def results(flight: Preflight) -> dict[str, str]:
    return {check["code"]: check["result"] for check in flight.checks}


def test_everything_that_can_be_known_is_looked_at(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    digest = registry.holds()
    flight = flown(alice, quoted(alice, registry.name()))
    assert results(flight) == dict.fromkeys(CODES, "ok")
    assert (flight.verdict, flight.digest) == ("ok", digest)
    told = flight.prediction
    assert (told["image_bytes"], told["missing_bytes"], told["seconds"]) == (1500, None, None)


def test_the_prediction_is_made_of_what_the_machine_measured(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    registry.holds(sizes=(30_000_000, 20_000_000))
    held = chains_of([diff(0)])[0].removeprefix("sha256:")[:32]
    pull = PullRecord(bytes=40_000_000, seconds=4.0, unpack_seconds=2.0)
    agent.cache = ImageCache(chains=[held], pulls=[pull])
    agent.connect()
    quote = quoted(alice, registry.name())
    told = flown(alice, quote).prediction
    assert (told["missing_bytes"], told["download_seconds"], told["unpack_seconds"]) == (
        20_000_000,
        2.0,
        1.0,
    )
    assert (told["start_seconds"], told["seconds"], told["of_starts"]) == (None, None, 0)
    earlier = cast.rented(cast.person("carol", usd=50), quote.offer)
    Start.objects.filter(rental=earlier).update(
        reserved_ms=1500, pulling_ms=9000, starting_ms=2500, ready_ms=13_000
    )
    cast.template(registry.name())
    told = flown(alice, quote).prediction
    assert (told["start_seconds"], told["seconds"], told["of_starts"]) == (4.0, 7.0, 1)
    assert services.prediction_sentence(told) == (
        "Ready in about 7 s. 20.0 MB of 50.0 MB must be downloaded."
    )


def test_unknown_parts_are_said_and_never_made_up(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    registry.holds()
    quote = quoted(alice, registry.name())
    assert services.prediction_sentence(flown(alice, quote).prediction) == (
        "Time to ready unknown: what must be downloaded is not known, no download was measured "
        "here yet, no start was measured here yet."
    )
    held = [chain.removeprefix("sha256:")[:32] for chain in chains_of([diff(0), diff(1)])]
    agent.cache = ImageCache(chains=held)
    agent.connect()
    assert services.prediction_sentence(flown(alice, quote).prediction) == (
        "Time to ready unknown: no start was measured here yet. "
        "All of the image is on the machine already."
    )


def test_an_image_that_is_not_there_blocks_the_rent_until_it_is(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    quote = quoted(alice, registry.name())
    flight = flown(alice, quote)
    assert (flight.verdict, results(flight)["manifest"]) == ("fail", "fail")
    with pytest.raises(DomainError, match="There is no image") as refused:
        rented(alice, quote)
    assert (refused.value.code, refused.value.status) == ("preflight_failed", 409)
    assert refused.value.data == {"check": "manifest"}
    assert not Rental.objects.exists()
    digest = registry.holds()
    assert flown(alice, quote).verdict == "ok"
    assert Preflight.objects.count() == 1
    rental = rented(alice, quote)
    assert cast.workload_of(rental).spec["image"] == f"{registry.host}/team/app@{digest}"
    assert rental.start.digest == digest


def test_a_registry_that_cannot_be_asked_warns_and_pins_nothing(
    alice: Actor, agent: cast.ProtocolAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "trusted_registries", ["http://127.0.0.1:1"])
    quote = quoted(alice, "127.0.0.1:1/team/app:1")
    flight = flown(alice, quote)
    assert flight.verdict == "warn"
    assert results(flight) | {"x": "x"} == {
        **dict.fromkeys(CODES, "ok"),
        **dict.fromkeys(["manifest", "registry_login", "architecture", "cuda", "size"], "warn"),
        "x": "x",
    }
    assert flight.checks[4]["measured"] == "registry_away"
    assert cast.workload_of(rented(alice, quote)).spec["image"] == "127.0.0.1:1/team/app:1"


def test_an_old_preflight_neither_blocks_nor_pins(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    with time_machine.travel(clock.now(), tick=False) as moving:
        flown(alice, quoted(alice, registry.name()))
        moving.shift(601)
        agent.beat()
        rental = rented(alice, quoted(alice, registry.name()))
        assert cast.workload_of(rental).spec["image"] == registry.name()
        moving.shift(86_400)
        tasks.forget_preflights()
        assert not Preflight.objects.exists()
    assert (rental.start.predicted_ms, rental.start.digest) == (None, "")


def test_an_image_named_by_digest_stays_as_it_is_named(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    digest = registry.holds()
    name = f"{registry.host}/team/app@{digest}"
    quote = quoted(alice, name)
    flown(alice, quote)
    assert cast.workload_of(rented(alice, quote)).spec["image"] == name


def test_what_was_taken_meanwhile_is_found(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    registry.holds()
    quote = quoted(alice, registry.name())
    Offer.objects.update(compute_rate=quote.compute_rate + 1)
    assert results(flown(alice, quote))["price"] == "warn"
    cast.rented(cast.person("carol", usd=50), quote.offer)
    PortLease.objects.update(free_at=None, workload_id=cast.workload_of(Rental.objects.get()).pk)
    flight = flown(alice, quote)
    assert {code for code, result in results(flight).items() if result == "fail"} == {
        "offer",
        "ports",
    }


def test_a_log_in_of_the_renter_is_used_and_proven(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    registry.says("/v2/team/app/manifests/1", {}, 401, WWW_Authenticate="Basic")
    quote = quoted(alice, registry.name())
    assert flown(alice, quote).checks[5]["measured"] == "registry_login_needed"
    flight = flown(alice, quote, Login("alice", "canary-password"))
    assert flight.checks[5]["measured"] == "registry_login_wrong"
    assert flight.verdict == "fail"
    assert "canary-password" not in str(Preflight.objects.values())


def test_the_log_in_that_a_template_names_is_used_at_its_own_registry_only(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    registry.says("/v2/team/app/manifests/1", {}, 401, WWW_Authenticate="Basic")
    plan = services.plan_preflight_of_quote(actor=alice, quote_id=quoted(alice, registry.name()).pk)

    def measured(login: str) -> str:
        flight = preflight.run(actor=alice, plan=dataclasses.replace(plan, login=login))
        return str(flight.checks[5]["measured"])

    host = registry.name().partition("/")[0]
    for name, there in (("mine", host), ("other", "ghcr.example")):
        vault.create_secret(
            actor=alice, name=name, value="canary-password", registry_host=there, registry_user="a"
        )
    assert measured("mine") == "registry_login_wrong"
    assert measured("other") == measured("unheard_of") == "registry_login_needed"


def test_the_api_tells_checks_prediction_and_formula(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    digest = registry.holds()
    offer = Offer.objects.get()
    path = f"/api/v1/offers/{offer.pk}/preflight/"
    body = {"template_id": str(cast.template(registry.name()).pk), "disk_gb": 20}
    told = api_of(alice).post(path, body, "json").json()["data"]
    assert (told["verdict"], told["digest"], told["disk_gb"], told["gpu_count"]) == (
        "ok",
        digest,
        20,
        0,
    )
    assert [check["code"] for check in told["checks"]] == CODES
    assert told["prediction"]["formula"].startswith("download (bytes")
    assert told["prediction"]["seconds"] is None
    alone = api_of(alice).post(path, {"image": registry.name()}, "json").json()["data"]
    assert (alone["image"], alone["disk_gb"]) == (registry.name(), 10)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "preflight_of_what"),
        ({"image": "a:1", "template_id": str(uuid.UUID(int=1))}, 400, "preflight_of_what"),
        ({"template_id": str(uuid.UUID(int=1))}, 404, "template_unknown"),
        ({"image": "a" * 501}, 400, "invalid"),
        ({"image": "a:1", "disk_gb": 0}, 400, "invalid"),
        ({"image": "a:1", "gpu_count": 1}, 400, "gpu_count"),
    ],
)
def test_a_preflight_of_nonsense_is_refused_and_asks_nobody(
    registry: Registry,
    alice: Actor,
    agent: cast.ProtocolAgent,
    body: dict[str, Any],
    status: int,
    code: str,
) -> None:
    path = f"/api/v1/offers/{Offer.objects.get().pk}/preflight/"
    assert refusal(api_of(alice).post(path, body, "json")) == (status, code)
    assert (registry.asked, Preflight.objects.count()) == ([], 0)


def test_strangers_hosts_and_the_impatient_get_no_preflight(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.holds()
    body = {"image": registry.name()}
    path = f"/api/v1/offers/{Offer.objects.get().pk}/preflight/"
    host = cast.person("hugo", role="LEASE")
    assert refusal(api_of(host).post(path, body, "json"))[0] == 403
    unknown = f"/api/v1/offers/{uuid.UUID(int=1)}/preflight/"
    assert refusal(api_of(alice).post(unknown, body, "json")) == (404, "offer_unknown")
    quote = quoted(alice, registry.name())
    carol = cast.person("carol")
    assert pages_of(carol).post(f"/quotes/{quote.pk}/preflight/").status_code == 404
    assert registry.asked == []
    monkeypatch.setattr(preflight, "MOST_A_MINUTE", 1)
    assert api_of(alice).post(path, body, "json").status_code == 200
    assert refusal(api_of(alice).post(path, body, "json")) == (429, "preflight_often")
    assert api_of(carol).post(path, body, "json").status_code == 200


def text(answer: Any) -> str:
    plain = re.sub(r"<[^>]*>", " ", answer.content.decode())
    return re.sub(r"\s+", " ", plain)


def test_the_page_looks_before_the_button_and_takes_it_away_when_it_cannot_start(
    registry: Registry, alice: Actor, agent: cast.ProtocolAgent
) -> None:
    browser = pages_of(alice)
    quote = quoted(alice, registry.name())
    page = browser.get(f"/quotes/{quote.pk}/")
    assert 'hx-trigger="load, submit"' in page.content.decode()
    assert "Rent now" in text(page)
    shown = browser.post(f"/quotes/{quote.pk}/preflight/", headers={"HX-Request": "true"})
    assert "There is no image" in text(shown)
    assert "Rent now" not in text(shown)
    assert browser.post(f"/quotes/{quote.pk}/", {"idempotency_key": "k" * 20}).status_code == 409
    assert not Rental.objects.exists()
    registry.holds()
    # Without a script the same button leads back to the page.
    answer = browser.post(f"/quotes/{quote.pk}/preflight/")
    assert answer.headers["Location"] == f"/quotes/{quote.pk}/"
    page = browser.get(f"/quotes/{quote.pk}/")
    assert 'hx-trigger="submit"' in page.content.decode()
    assert "Rent now" in text(page)
    assert "Time to ready unknown" in text(page)
    # What was seen for one quote is not shown for the next: that looks by itself.
    page = browser.get(f"/quotes/{quoted(alice, registry.name()).pk}/")
    assert 'hx-trigger="load, submit"' in page.content.decode()


def test_a_start_is_timed_phase_by_phase_and_shown_beside_its_prediction(
    registry: Registry,
    alice: Actor,
    agent: cast.ProtocolAgent,
    drain: Drain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    registry.holds()
    with time_machine.travel(clock.now(), tick=False) as moving:
        link = agent.connect()
        quote = quoted(alice, registry.name())
        flight = flown(alice, quote)
        Preflight.objects.update(prediction={**flight.prediction, "seconds": 18.2})
        rental = rented(alice, quote)
        for seconds, state in (
            (2, WorkloadState.PULLING),
            (15, WorkloadState.STARTING),
            (4, WorkloadState.RUNNING),
        ):
            moving.shift(seconds)
            agent.report(link, cast.workload_of(rental), state)
            drain()
        start = Start.objects.get(rental=rental)
        assert (start.reserved_ms, start.pulling_ms, start.starting_ms) == (2000, 15_000, 4000)
        assert (start.ready_ms, start.predicted_ms) == (21_000, 18_200)
        told = api_of(alice).get(f"/api/v1/rentals/{rental.pk}/").json()["data"]["start"]
        assert (told["predicted_seconds"], told["seconds"]) == (18.2, 21.0)
        assert (told["reserved_seconds"], told["pulling_seconds"]) == (2.0, 15.0)
        [running] = [
            step
            for step in api_of(alice).get(f"/api/v1/rentals/{rental.pk}/timeline/").json()["data"]
            if step["event"] == "rental.running"
        ]
        assert running["words"] == "Running: predicted 18 s, was 21 s"
        # Later starts are not first ones: nothing more is written down.
        services.restart_rental(actor=alice, rental_id=rental.pk)
        moving.shift(60)
        agent.report(link, cast.workload_of(rental), WorkloadState.RUNNING, restarts=1)
        drain()
        assert Rental.objects.get().state == "running"
        assert Start.objects.get(rental=rental).starting_ms == 4000
