"""The timeline says who did what and why; every code that code can say is in the catalogue."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.conf import settings

from core import clock
from hostagent.protocol import WorkloadState
from rentals import probing, reasons, reconcile, services
from rentals.machine import State
from rentals.tests.test_life import Scene
from tests import cast
from tests.architecture.tree import ROOT
from tests.doors import api_of, refusal

Drain = Callable[[], int]
SAYS = re.compile(
    r"(?:\breason\(\s*|EngineError\(\s*|\bcode(?:, message)? = |code=|\breturn (?=\"[a-z_]+\", ))\"([a-z_]+)\""
)


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=True) as traveller:
        yield Scene(drain, traveller)


@pytest.mark.django_db
def test_each_event_has_its_time_its_actor_and_its_reason(scene: Scene) -> None:
    scene.pass_time(60)
    scene.stopped()
    scene.pass_time(60)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    name, told = scene.alice.label, services.timeline(scene.rental)
    assert [(step.words, step.by, step.who) for step in told] == [
        ("Reserved", "renter", name),
        ("Starting", "platform", "the platform"),
        ("Running", "platform", "the platform"),
        ("Stopping: You stopped it.", "renter", name),
        ("The container has stopped", "machine", "atlas-03"),
        ("Stopped, disk kept", "platform", "the platform"),
        ("Stopping: You ended it.", "renter", name),
        ("Container and disk are gone from the machine", "machine", "atlas-03"),
        ("Ended: You ended it.", "platform", "the platform"),
    ]
    assert [step.at for step in told] == sorted(step.at for step in told)
    assert told[3].reason == {
        "party": "renter",
        "code": "stopped_by_renter",
        "message": "You stopped it.",
        "fault": "none",
        "refund": "0.00",
    }


@pytest.mark.django_db
def test_the_door_shows_the_same_to_alice_and_nothing_to_carol(scene: Scene) -> None:
    path = f"/api/v1/rentals/{scene.rental.pk}/timeline/"
    first, *_ = api_of(scene.alice).get(path).json()["data"]
    assert first.pop("at").startswith("2026-11-21T12:00:")
    assert first == {
        "event": "rental.reserved",
        "words": "Reserved",
        "actor": {"kind": "renter", "name": scene.alice.label},
        "reason": None,
    }
    assert refusal(api_of(cast.person("carol")).get(path)) == (404, "rental_unknown")


def test_every_code_that_code_says_is_in_the_catalogue() -> None:
    found = (ROOT / "rentals" / "services").glob("*.py")
    # What tells people uses the codes of notices, which have a catalogue of their own.
    files = [file for file in found if file.name != "telling.py"]
    files.append(ROOT / "rentals" / "reconcile.py")
    files += [ROOT / "hostagent" / f"{room}.py" for room in ("engine", "planner", "workload")]
    said = {code for file in files for code in SAYS.findall(file.read_text())}
    assert {"end_reached", "tunnel_refused", "networks_exhausted", "oom_killed"} <= said
    assert said <= set(reasons.CATALOGUE)


def test_the_catalogue_knows_its_parties_and_every_phase_that_can_be_late() -> None:
    assert {reason.party for reason in reasons.CATALOGUE.values()} == set(reasons.PARTIES)
    assert {f"{phase}_timeout" for phase in ("reserved", "pulling", "starting")} <= set(
        reasons.CATALOGUE
    )
    assert reasons.known("of another century").code == "start_failed"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reports", "phase", "seconds"),
    [
        ((), "reserved", 120),
        ((WorkloadState.PULLING,), "pulling", 1200),
        ((WorkloadState.STARTING,), "starting", 120),
    ],
)
def test_a_phase_that_outlives_its_deadline_ends_free_and_says_which(
    drain: Drain, reports: tuple[WorkloadState, ...], phase: str, seconds: int
) -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    with time_machine.travel(clock.now() + dt.timedelta(seconds=1), tick=False) as traveller:
        rental = cast.rented(cast.person("alice", usd=50), offer)
        link = agent.connect()
        for report in reports:
            agent.report(link, cast.workload_of(rental), report)
            drain()
        rental.refresh_from_db()
        assert rental.state == phase
        deadline = services.deadline_of(rental)
        assert deadline is not None
        assert (deadline - rental.phase_since).total_seconds() == seconds
        traveller.shift(seconds)
        reconcile.sweep()
        rental.refresh_from_db()
        assert rental.state == phase
        traveller.shift(1)
        reconcile.sweep()
        rental.refresh_from_db()
        end = rental.end or {}
        assert (rental.state, end["code"], end["fault"]) == (
            State.STOPPING.value,
            f"{phase}_timeout",
            "host",
        )
    assert settings.DC.stop_deadline_seconds == 60
