"""Lists of rentals ask the database as often for many as for one."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hostagent.protocol import WorkloadState
from rentals import api, probing, services, views
from rentals.models import Rental
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of, pages_of, refusal

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
    listed = door.get("/api/v1/rentals/").json()["data"]["rows"]
    assert {row["state"] for row in listed} == {"running", "ended"}
    for row in listed:
        assert door.get(f"/api/v1/rentals/{row['id']}/").json()["data"] == row


def several(scene: Scene) -> list[str]:
    """Let alice have had five rentals, two of them from one instant; return their ids, the newest first."""
    cast.proxy_server(count=100)
    begun = scene.rental.created_at
    for _ in range(4):
        services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.says(WorkloadState.ABSENT)
        scene.rental = cast.rented(scene.alice, scene.offer)
    for rental, older in zip(Rental.objects.order_by("pk"), (0, 1, 2, 2, 3), strict=True):
        rental.created_at = begun - dt.timedelta(hours=older)
        rental.save(update_fields=["created_at"])
    newest_first = Rental.objects.order_by("-created_at", "-pk")
    return [str(pk) for pk in newest_first.values_list("pk", flat=True)]


def test_every_rental_is_on_one_page_of_the_list_and_on_one_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, door = several(scene), api_of(scene.alice)
    monkeypatch.setattr(api, "PAGE_ROWS", 2)
    seen: list[list[str]] = []
    before: str | None = ""
    while before is not None:
        asked = {"before": before} if before else {}
        page = door.get("/api/v1/rentals/", asked).json()["data"]
        seen.append([row["id"] for row in page["rows"]])
        before = page["next"]
    assert seen == [ids[:2], ids[2:4], ids[4:]]


def test_the_page_of_rentals_leads_to_older_ones_and_stays_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, door = several(scene), pages_of(scene.alice)
    monkeypatch.setattr(views, "PAGE_ROWS", 3)
    first = door.get("/rentals/")
    assert [str(row["rental"].pk) for row in first.context["rentals"]] == ids[:3]
    assert f'href="?before={ids[2]}">Older</a>' in first.content.decode()
    last = door.get(f"/rentals/?before={ids[2]}")
    assert [str(row["rental"].pk) for row in last.context["rentals"]] == ids[3:]
    assert "Older" not in last.content.decode()
    # What is fetched again when something happens is this page, not the first.
    assert f'hx-get="/rentals/?before={ids[2]}"' in last.content.decode()


@pytest.mark.parametrize("before", ["x", "", "\0", "1", str(uuid.UUID(int=0)), "9" * 5000])
def test_a_place_in_the_list_that_is_none_is_refused(scene: Scene, before: str) -> None:
    answer = api_of(scene.alice).get("/api/v1/rentals/", {"before": before})
    assert refusal(answer) == (400, "cursor_invalid")
    page = pages_of(scene.alice).get("/rentals/", {"before": before})
    assert (page.status_code, b"cursor_invalid" in page.content) == (400, True)


def test_somebody_elses_rental_is_no_place_in_ones_own_list(scene: Scene) -> None:
    answer = api_of(scene.bob).get("/api/v1/rentals/", {"before": str(scene.rental.pk)})
    assert refusal(answer) == (400, "cursor_invalid")
