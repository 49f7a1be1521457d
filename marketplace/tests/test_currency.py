"""A deployment in another currency than dollars: no page and no sentence says `$`."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.test import override_settings

from accounts.actors import Actor
from hostagent.protocol import WorkloadState
from rentals import probing, services
from rentals.tests.test_life import Scene
from tests.doors import api_of, pages_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with (
        override_settings(CURRENCY="EUR"),
        time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller,
    ):
        yield Scene(drain, traveller)


def page(actor: Actor, path: str) -> str:
    """Return a page's source, entities resolved, without its examples for a shell."""
    answer = pages_of(actor).get(path)
    assert answer.status_code == 200, path
    return re.sub(r"<pre.*?</pre>", "", html.unescape(answer.content.decode()), flags=re.S)


def test_no_page_names_another_currency_than_the_deployments(scene: Scene) -> None:
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.pass_time(7200)
    rental, machine = f"/rentals/{scene.rental.pk}/", f"/fleet/{scene.offer.node_id}/"
    renters = ["/", "/market/", "/rentals/", rental, f"{rental}bill/", "/wallet/"]
    hosts = [
        f"{rental}raise/",
        "/fleet/",
        machine,
        f"{machine}smart-price/",
        "/fleet/prices/",
        "/earnings/",
    ]
    pages = [(scene.alice, path) for path in renters] + [(scene.bob, path) for path in hosts]
    for actor, path in pages:
        text = page(actor, path)
        assert "$" not in text, (path, text[max(0, text.index("$") - 60) :][:120])
    assert "0.0514 EUR" in page(scene.alice, rental)
    assert 'data-written="# EUR"' in page(scene.alice, rental)
    assert "At most, EUR an hour" in page(scene.alice, "/")
    assert "EUR an hour for each GPU" in page(scene.bob, machine)


def test_sentences_and_refusals_name_the_deployments_currency(scene: Scene) -> None:
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.pass_time(7200)
    door, path = api_of(scene.alice), f"/api/v1/rentals/{scene.rental.pk}/"
    assert "EUR an hour" in door.get(path).json()["data"]["sentence"]
    refused = door.put(f"{path}limits/", {"ends_at": None, "spend_cap": "0.01"}, "json")
    assert refused.status_code == 400
    assert "EUR) and below one million" in refused.json()["error"]
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STOPPED)
    assert "GB for 0.0337 EUR a day" in door.get(path).json()["data"]["sentence"]
    told = door.get(path).json()["data"]["actions"]
    assert "EUR an hour from then on." in str(told)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    assert "EUR." in door.get(path).json()["data"]["sentence"]
