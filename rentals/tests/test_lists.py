"""Lists of rentals ask the database as often for many as for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hostagent.protocol import WorkloadState
from rentals import probing, services
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of, pages_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Scene(drain, traveller)


@pytest.mark.parametrize("path", ["/api/v1/rentals/", "/rentals/"])
def test_a_list_of_rentals_asks_no_more_for_more_rows(scene: Scene, path: str) -> None:
    door = api_of(scene.alice) if path.startswith("/api") else pages_of(scene.alice)
    cast.proxy_server(count=100)

    def asked() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert door.get(path).status_code == 200
        return len(seen)

    door.get(path)
    counts = [asked()]
    for _ in range(3):
        services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.says(WorkloadState.ABSENT)
        scene.rental = cast.rented(scene.alice, scene.offer)
        counts.append(asked())
    assert counts == [counts[0]] * 4


def test_a_list_tells_of_each_rental_what_its_own_address_tells(scene: Scene) -> None:
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    scene.rental = cast.rented(scene.alice, scene.offer)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.pass_time(3600)
    door = api_of(scene.alice)
    listed = door.get("/api/v1/rentals/").json()["data"]
    assert {row["state"] for row in listed} == {"running", "ended"}
    for row in listed:
        assert door.get(f"/api/v1/rentals/{row['id']}/").json()["data"] == row
