"""What a reconciler has read may be over when its step gets the locks: then the step does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock
from hostagent.protocol import WorkloadState
from nodes.models import Workload
from rentals import probing, reconcile, services
from rentals.models import Rental
from rentals.services.life import seen_of
from rentals.tests.test_life import Scene
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        yield scene
        audit.seal_new()
        assert broken() == []


def read(scene: Scene) -> tuple[Rental, Workload]:
    """Return what a reconciler reads, without a lock."""
    rental = Rental.objects.select_related("node", "version").get(pk=scene.rental.pk)
    return rental, Workload.objects.get(pk=rental.workload_id)


def tell(scene: Scene, state: WorkloadState, **more: str | int) -> None:
    """Let the agent report, before anything follows from it."""
    scene.agent.report(scene.link, cast.workload_of(scene.rental), state, **more)


def test_a_failure_from_before_a_restart_does_not_take_the_restarted_rental_down(
    scene: Scene,
) -> None:
    tell(scene, WorkloadState.FAILED, code="container_exited", message="Exit 1.")
    rental, workload = read(scene)
    services.restart_rental(actor=scene.alice, rental_id=rental.pk)
    reconcile._watch(rental, workload)
    assert (scene.now().state, scene.now().end) == ("starting", None)
    assert cast.workload_of(rental).wish == "running"
    scene.says(WorkloadState.STARTING)
    assert scene.says(WorkloadState.RUNNING, restarts=1).state == "running"


def test_a_failure_that_is_mended_before_the_lock_is_no_failure(scene: Scene) -> None:
    tell(scene, WorkloadState.FAILED, code="engine_error", message="The engine was away.")
    rental, workload = read(scene)
    tell(scene, WorkloadState.RUNNING)
    reconcile._watch(rental, workload)
    scene.drain()
    assert (scene.now().state, scene.now().end) == ("running", None)
    assert cast.workload_of(rental).wish == "running"


def test_a_start_that_is_overdue_and_comes_up_before_the_lock_goes_on(scene: Scene) -> None:
    scene.stopped()
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING)
    scene.traveller.shift(1000)
    scene.agent.beat()
    rental, workload = read(scene)
    tell(scene, WorkloadState.RUNNING)
    reconcile._come_up(rental, workload)
    assert scene.now().state == "starting"
    reconcile.sweep()
    assert scene.now().state == "stopping"


def test_an_address_that_opens_before_the_lock_is_not_refused(scene: Scene) -> None:
    scene.stopped()
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING, code="tunnel_refused", message="port taken")
    scene.traveller.shift(11)
    rental, workload = read(scene)
    tell(scene, WorkloadState.STARTING)
    reconcile._come_up(rental, workload)
    assert (scene.now().state, scene.now().end) == ("starting", None)


def test_an_answer_that_is_waited_for_counts_for_nothing_after_a_restart(scene: Scene) -> None:
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    tell(scene, WorkloadState.RUNNING, restarts=1)
    rental, workload = read(scene)
    seen = seen_of(rental, workload)
    workload.spec["restarts"] += 1
    workload.save(update_fields=["spec"])
    system = Actor.system()
    services.mark_running(actor=system, rental_id=rental.pk, at=clock.epoch(), seen=seen)
    assert scene.now().state == "starting"
    services.mark_running(
        actor=system, rental_id=rental.pk, at=clock.epoch(), seen=seen_of(*read(scene))
    )
    assert scene.now().state == "running"


def test_a_stop_that_was_seen_before_another_start_stops_nothing(scene: Scene) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    tell(scene, WorkloadState.STOPPED)
    rental, workload = read(scene)
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.traveller.shift(60)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    reconcile._go_down(rental, workload)
    assert scene.now().state == "stopping"
    assert scene.says(WorkloadState.STOPPED).state == "stopped"


def test_a_disk_that_is_there_again_before_the_lock_is_not_lost(scene: Scene) -> None:
    scene.stopped()
    tell(scene, WorkloadState.ABSENT)
    rental, workload = read(scene)
    tell(scene, WorkloadState.STOPPED)
    reconcile._go_down(rental, workload)
    scene.drain()
    assert (scene.now().state, scene.now().ended_at) == ("stopped", None)
    assert billing.balance_of(owner_id=scene.alice.user_id).locked > 0
