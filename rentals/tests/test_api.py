"""The JSON doors of templates, quotes and rentals: exact answers for alice, nothing for carol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from accounts import services as accounts
from core.ids import new_id
from hostagent.protocol import WorkloadState
from nodes.models import Offer
from rentals import probing
from rentals.models import Quote, Rental
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of, refusal

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
ROOT = "/api/v1/"


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Scene(drain, traveller)


def path(scene: Scene, tail: str = "") -> str:
    return f"{ROOT}rentals/{scene.rental.pk}/{tail}"


def quoted(client: APIClient, offer: Offer, **more: Any) -> Any:
    body = {"offer_id": str(offer.pk), "template_id": str(cast.template().pk), **more}
    return client.post(f"{ROOT}quotes/", body, "json")


def test_the_whole_way_from_quote_to_bill(scene: Scene) -> None:
    client = api_of(scene.alice)
    running = client.get(path(scene)).json()["data"]
    assert (running["state"], running["label"]) == ("running", "Running")
    port = running["ssh"]["port"]
    assert running["ssh"]["command"] == f"ssh -p {port} root@127.0.0.1"
    assert running["ports"]["22"] == port
    assert [(a["name"], a["method"], a["url"]) for a in running["actions"]] == [
        ("stop", "POST", path(scene, "stop/")),
        ("restart", "POST", path(scene, "restart/")),
        ("recreate", "POST", path(scene, "recreate/")),
        ("end", "POST", path(scene, "end/")),
    ]
    scene.traveller.shift(3600)
    assert client.post(path(scene, "stop/")).json()["data"]["state"] == "stopping"
    assert client.post(path(scene, "start/")).json()["data"]["state"] == "starting"
    ending = client.post(path(scene, "end/")).json()["data"]
    assert (ending["state"], ending["actions"]) == ("stopping", [])
    scene.says(WorkloadState.ABSENT)
    ended = client.get(path(scene)).json()["data"]
    assert (ended["state"], ended["end"]["code"]) == ("ended", "ended_by_renter")
    bill = client.get(path(scene, "bill/")).json()["data"]
    lines = {line["kind"]: line for line in bill["lines"]}
    assert lines["compute"]["seconds"] == 3600
    assert lines["compute"]["rate_nano_per_second"] == scene.rental.compute_rate
    assert (bill["currency"], bill["total"]) == ("USD", ended["cost_so_far"])
    nano = 3600 * (scene.rental.compute_rate + scene.rental.storage_rate)
    assert round(float(bill["total"]) * 1e9) == nano


def test_a_quote_names_size_and_price_and_its_rental_appears_once_in_the_list() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    client = api_of(alice)
    answer = quoted(client, offer, gpu_count=1, disk_gb=20)
    quote = answer.json()["data"]
    assert answer.status_code == 201
    assert (quote["gpu_count"], quote["disk_gb"], quote["offer_id"]) == (1, 20, str(offer.pk))
    assert quote["price"]["compute_hourly"] == "0.2999988"

    def rent(key: str) -> Any:
        body = {"quote_id": quote["id"]}
        return client.post(f"{ROOT}rentals/", body, "json", headers={"Idempotency-Key": key})

    made, repeated = rent("k"), rent("k")
    assert (made.status_code, repeated.status_code) == (201, 201)
    listed = client.get(f"{ROOT}rentals/").json()["data"]["rows"]
    assert [(row["id"], row["gpu_count"]) for row in listed] == [(made.json()["data"]["id"], 1)]
    assert repeated.json()["data"]["id"] == made.json()["data"]["id"]
    assert refusal(rent("other")) == (409, "quote_used")
    assert Rental.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"gpu_count": 3}, (400, "gpu_count")),
        ({"gpu_count": 0}, (400, "gpu_count")),
        ({"gpu_count": -1}, (400, "invalid")),
        ({"disk_gb": 101}, (400, "disk_gb")),
        ({"disk_gb": 0}, (400, "invalid")),
        ({"offer_id": "1d0f8f6e-0000-4000-8000-000000000001"}, (404, "offer_unknown")),
        ({"template_id": "1d0f8f6e-0000-4000-8000-000000000001"}, (404, "template_unknown")),
        ({"offer_id": "none"}, (400, "invalid")),
    ],
)
def test_a_quote_that_cannot_be_had_is_refused(body: Any, expected: tuple[int, str]) -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    assert refusal(quoted(api_of(cast.person("alice")), offer, **body)) == expected
    assert not Quote.objects.exists()


def test_renting_needs_an_ssh_key_and_ones_own_quote() -> None:
    cast.proxy_server()
    alice, carol = cast.person("alice", usd=50), cast.person("carol", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    quote_id = quoted(api_of(alice), offer).json()["data"]["id"]

    def rent(client: APIClient, **more: Any) -> tuple[int, str]:
        body = {"quote_id": quote_id, **more}
        key = {"Idempotency-Key": str(new_id())}
        return refusal(client.post(f"{ROOT}rentals/", body, "json", headers=key))

    assert rent(api_of(alice)) == (400, "ssh_key_needed")
    key = accounts.add_ssh_key(actor=carol, name="hers", public_key=cast.public_ssh_key())
    assert rent(api_of(carol)) == (404, "quote_unknown")
    assert rent(api_of(alice), ssh_key_ids=[str(key.pk)]) == (404, "ssh_key_unknown")
    assert rent(api_of(alice), ssh_key_ids=[]) == (400, "invalid")
    assert not Rental.objects.exists()


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("get", "", None),
        ("get", "bill/", None),
        ("get", "logs/", None),
        ("post", "stop/", {}),
        ("post", "start/", {}),
        ("post", "end/", {}),
        ("put", "limits/", {"ends_at": None, "spend_cap": "5"}),
        ("put", "keys/", {"ssh_key_ids": ["1d0f8f6e-0000-4000-8000-000000000001"]}),
    ],
)
@pytest.mark.parametrize("who", ["carol", "bob"])
def test_a_rental_is_its_renters_alone(
    scene: Scene, who: str, method: str, tail: str, body: Any
) -> None:
    other = scene.bob if who == "bob" else cast.person("carol")
    answer = getattr(api_of(other), method)(path(scene, tail), body, format="json")
    assert refusal(answer) == (404, "rental_unknown")
    before = (scene.rental.state, scene.rental.spend_cap, scene.rental.ssh_keys)
    rental = scene.now()
    assert (rental.state, rental.spend_cap, rental.ssh_keys) == before


def test_keys_of_a_running_rental_change_without_a_restart(scene: Scene) -> None:
    line = cast.public_ssh_key()
    key = accounts.add_ssh_key(actor=scene.alice, name="new", public_key=line)
    client = api_of(scene.alice)
    generation = cast.workload_of(scene.rental).generation
    answer = client.put(path(scene, "keys/"), {"ssh_key_ids": [str(key.pk)]}, "json")
    assert answer.status_code == 200
    workload = cast.workload_of(scene.now())
    assert workload.spec["ssh_keys"] == scene.rental.ssh_keys == [line]
    assert workload.generation == generation
    unknown = client.put(path(scene, "keys/"), {"ssh_key_ids": [str(new_id())]}, "json")
    assert refusal(unknown) == (404, "ssh_key_unknown")
    assert scene.now().ssh_keys == [line]
    client.post(path(scene, "end/"))
    late = client.put(path(scene, "keys/"), {"ssh_key_ids": [str(key.pk)]}, "json")
    assert refusal(late) == (409, "action_not_now")


def test_last_words_are_empty_until_there_are_some(scene: Scene) -> None:
    client = api_of(scene.alice)
    assert client.get(path(scene, "logs/")).json()["data"] == {"text": "", "at": None}
    scene.says(WorkloadState.FAILED, code="container_exited", message="Exit 1.", logs="bye\n")
    said = client.get(path(scene, "logs/")).json()["data"]
    assert (said["text"], said["at"]) == ("bye\n", "2026-11-21T12:00:00Z")


def test_an_action_at_the_wrong_time_is_a_409_and_changes_nothing(scene: Scene) -> None:
    answer = api_of(scene.alice).post(path(scene, "start/"))
    assert answer.status_code == 409
    assert scene.now().state == "running"
