"""Restart keeps the container, recreate replaces it; a start takes the same cards or says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine

from audit import services as audit
from billing import services as billing
from core.errors import Conflict, Invalid, NotFound
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes.machine import NodeStatus
from nodes.models import Allocation, Gpu, GpuAllocation, Node
from rentals import probing, services
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of, pages_of, refusal
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        yield scene
        audit.seal_new()
        assert broken() == []


def test_a_restart_is_over_when_the_agent_has_done_it_and_it_answers(scene: Scene) -> None:
    scene.pass_time(100)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.now().state == "starting"
    assert cast.workload_of(scene.rental).spec["restarts"] == 1
    scene.pass_time(7)
    # What the agent said before it read the wish does not count.
    assert scene.says(WorkloadState.RUNNING).state == "starting"
    rental = scene.says(WorkloadState.RUNNING, restarts=1)
    assert (rental.state, scene.seconds("compute"), scene.seconds("storage")) == (
        "running",
        107,
        107,
    )
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == (
        rental.storage_rate * 2 * 86_400
    )


def test_a_restart_needs_contact_and_refused_changes_nothing(scene: Scene) -> None:
    Node.objects.filter(pk=scene.agent.node_id).update(status=NodeStatus.OFFLINE.value)
    with pytest.raises(Conflict) as away:
        services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert away.value.code == "machine_away"
    with pytest.raises(Conflict) as away:
        services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    assert away.value.code == "machine_away"
    assert scene.now().state == "running"
    assert "restarts" not in cast.workload_of(scene.rental).spec


def test_a_fresh_container_is_made_only_after_a_yes_and_the_old_ones_words_do_not_count(
    scene: Scene,
) -> None:
    with pytest.raises(Invalid) as refused:
        services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=False)
    assert refused.value.code == "confirm_data_loss"
    assert (scene.now().state, cast.workload_of(scene.rental).generation) == ("running", 1)
    before, ports = cast.workload_of(scene.rental), scene.now().ports
    services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    assert cast.workload_of(scene.rental).generation == 2
    scene.agent.report(scene.link, before, WorkloadState.ABSENT)
    scene.drain()
    assert scene.now().state == "starting"
    rental = scene.says(WorkloadState.PULLING, WorkloadState.STARTING, WorkloadState.RUNNING)
    assert (rental.state, rental.ports) == ("running", ports)


def test_a_stopped_rental_can_be_recreated(scene: Scene) -> None:
    scene.stopped()
    services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    assert Allocation.objects.filter(released_at=None).count() == 1
    assert scene.says(WorkloadState.STARTING, WorkloadState.RUNNING).state == "running"


def test_a_fresh_container_that_its_host_cannot_make_is_told_as_failed_with_the_reason(
    scene: Scene,
) -> None:
    services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    scene.says(WorkloadState.FAILED, code="start_failed", message="No space left.")
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, (rental.end or {})["code"]) == ("stopped", "start_failed")
    told = services.describe(rental)
    assert (told.label, told.tone) == ("Could not recreate", "failed")
    assert told.sentence.startswith(
        "No space left. Its fresh container did not come up: a start makes it, and nothing is on its disk. 10 GB for $"
    )
    assert "Could not recreate" in pages_of(scene.alice).get("/rentals/").content.decode()
    # The next start makes it, and nothing of that is left.
    services.start_rental(actor=scene.alice, rental_id=rental.pk)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    assert services.describe(scene.stopped()).label == "Stopped, disk kept"


def test_carol_neither_restarts_nor_recreates_alices(scene: Scene) -> None:
    carol = cast.person("carol")
    with pytest.raises(NotFound):
        services.restart_rental(actor=carol, rental_id=scene.rental.pk)
    with pytest.raises(NotFound):
        services.recreate_rental(actor=carol, rental_id=scene.rental.pk, confirmed=True)
    assert scene.now().state == "running"


def test_the_doors_restart_and_recreate(scene: Scene) -> None:
    root, client = f"/api/v1/rentals/{scene.rental.pk}/", api_of(scene.alice)
    labels = {a["name"]: a["label"] for a in client.get(root).json()["data"]["actions"]}
    day = services.rental_actions(scene.rental)[0].consequence.split("$")[1].split(" ")[0]
    assert labels["stop"] == (f"Stop: keeps your 10 GB for ${day} a day; the machine may be taken")
    assert client.post(f"{root}restart/").json()["data"]["state"] == "starting"
    scene.says(WorkloadState.RUNNING, restarts=1)
    assert refusal(client.post(f"{root}recreate/", {}, "json")) == (400, "confirm_data_loss")
    done = client.post(f"{root}recreate/", {"confirm_data_loss": True}, "json")
    assert (done.status_code, done.json()["data"]["state"]) == (200, "starting")
    assert refusal(client.post(f"{root}restart/")) == (409, "action_not_now")


def test_a_start_takes_the_cards_it_was_made_for_or_none(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    cast.proxy_server()
    alice, dora = cast.person("alice", usd=50), cast.person("dora", usd=50)
    agent, offer = cast.machine(cast.person("bob"), gpus=2)
    rental = cast.rented(alice, offer, gpus=1)
    link = agent.connect()

    def says(*states: WorkloadState) -> None:
        for state in states:
            agent.report(link, cast.workload_of(rental), state)
            drain()

    says(WorkloadState.STARTING, WorkloadState.RUNNING)
    services.stop_rental(actor=alice, rental_id=rental.pk)
    says(WorkloadState.STOPPED)
    [card] = cast.workload_of(rental).spec["resource_limits"]["gpu_uuids"]
    offer.refresh_from_db()
    cast.rented(dora, offer, gpus=1)
    assert GpuAllocation.objects.get(released_at=None).gpu.uuid == card
    with pytest.raises(Conflict) as taken:
        services.start_rental(actor=alice, rental_id=rental.pk)
    assert taken.value.code == "offer_taken"
    assert "Its disk is kept" in str(taken.value)
    rental.refresh_from_db()
    assert (rental.state, cast.workload_of(rental).wish) == ("stopped", "stopped")
    services.recreate_rental(actor=alice, rental_id=rental.pk, confirmed=True)
    other = Gpu.objects.exclude(uuid=card).get().uuid
    assert cast.workload_of(rental).spec["resource_limits"]["gpu_uuids"] == [other]
    assert nodes.has_restarted(cast.workload_of(rental))
