"""A stopped rental keeps its address for a week; a later start gives it another one."""

from __future__ import annotations

import pytest

from core.errors import Conflict
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes.models import PortLease
from rentals import services, tasks
from rentals.tests.test_life import Scene
from rentals.tests.test_life import scene as scene
from tests import cast

pytestmark = pytest.mark.django_db
DAY = 86_400


def leased() -> set[int]:
    found = PortLease.objects.filter(workload__isnull=False, released_at=None)
    return set(found.values_list("port", flat=True))


def stopped_for(scene: Scene, days: int) -> None:
    scene.stopped()
    for _ in range(days):
        scene.pass_time(DAY)
    tasks.give_up_addresses()
    nodes.reconcile_ports(server_name="local", proxied=set())


def start(scene: Scene) -> None:
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)


def test_within_a_week_it_starts_at_the_same_address(scene: Scene) -> None:
    before = scene.now().ports
    stopped_for(scene, 6)
    start(scene)
    assert (scene.now().ports, leased()) == (before, set(before.values()))


def test_after_a_week_the_ports_go_back_and_a_start_takes_others(scene: Scene) -> None:
    before = scene.now().ports
    stopped_for(scene, 7)
    assert (leased(), scene.now().ports) == (set(), before)
    assert "new address" in services.describe(scene.now()).sentence
    scene.pass_time(3600)
    nodes.reconcile_ports(server_name="local", proxied=set())
    start(scene)
    rental = scene.now()
    assert set(rental.ports) == set(before)
    assert set(rental.ports.values()) == leased()
    assert cast.workload_of(rental).spec["proxy_port_mapping"] == rental.ports
    assert rental.address_given_up is None
    words = [step.words for step in services.timeline(rental)]
    assert set(words[-2:]) == {"It has a new address", "Starting"}
    assert scene.says(WorkloadState.RUNNING).state == "running"


def test_no_free_port_refuses_the_start_and_changes_nothing(scene: Scene) -> None:
    stopped_for(scene, 7)
    PortLease.objects.update(free_at=None)
    with pytest.raises(Conflict) as refused:
        start(scene)
    assert refused.value.code == "ports_exhausted"
    assert (scene.now().state, cast.workload_of(scene.rental).wish) == ("stopped", "stopped")
    PortLease.objects.filter(workload=None).update(free_at="2026-11-21T12:00:00Z")


def test_one_that_is_ended_gives_its_address_up_once(scene: Scene) -> None:
    stopped_for(scene, 7)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.says(WorkloadState.ABSENT).state == "ended"
    assert services.give_up_addresses(actor=scene.alice) == 0
