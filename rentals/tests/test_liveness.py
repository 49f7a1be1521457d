"""Gaps in what is heard of a machine: short ones cost, long ones do not, whoever learns of them when."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine

from audit import services as audit
from billing import services as billing
from billing.models import Transfer
from core import clock
from hostagent.protocol import WorkloadReport, WorkloadState
from nodes import gateway
from nodes import services as nodes
from nodes.events import NodeBack, NodeLost
from rentals import probing, services
from rentals.handlers import bill_again, pause_rentals
from rentals.tests.test_life import Scene, spend_down_to
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db


class Watched(Scene):
    """alice's running rental on a machine that beats only when the test says so."""

    def silent(self, seconds: int, *, noticed: bool = True) -> None:
        """Hear nothing for so long, and let the clock's task see it or not."""
        self.traveller.shift(seconds)
        if noticed:
            nodes.sweep_liveness()
            self.drain()

    def returns(self, state: WorkloadState = WorkloadState.RUNNING) -> int:
        """The agent opens a session and says what it sees; return when."""
        workload = cast.workload_of(self.rental)
        seen = WorkloadReport(
            workload_id=str(workload.pk), generation=workload.generation, state=state
        )
        self.link = self.agent.dial()
        gateway.handle(self.link, self.agent.hello(self.link, [seen]))
        self.agent.epoch = self.link.epoch
        self.drain()
        return clock.epoch()

    def bills(self) -> tuple[int, int]:
        return self.seconds("compute"), self.seconds("storage")


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Watched(drain, traveller)
        yield scene
        audit.seal_new()
        assert broken() == []


def test_a_gap_below_the_limit_is_billed_whole(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(29)
    scene.returns()
    scene.pass_time(50)
    assert scene.bills() == (179, 179)


def test_a_longer_gap_is_free_from_the_last_beat_to_the_first_that_shows_it_running(
    scene: Watched,
) -> None:
    scene.pass_time(100)
    scene.silent(30)
    assert scene.bills() == (100, 100)
    scene.silent(400)
    scene.returns()
    scene.pass_time(50)
    assert scene.bills() == (150, 150)


def test_a_gap_that_nobody_noticed_is_mended_by_one_reversal_a_leg_when_the_machine_returns(
    scene: Watched,
) -> None:
    scene.pass_time(100)
    scene.silent(7200, noticed=False)
    billing.roll_up()
    assert scene.bills() == (7300, 7300)
    scene.returns()
    scene.pass_time(50)
    assert scene.bills() == (150, 150)
    backs = Transfer.objects.filter(kind="share_back", meter__subject_id=scene.rental.pk)
    assert {back.t1 - back.t0 for back in backs} == {7140}  # type: ignore[operator]
    assert len(backs) == 2
    assert all(back.reverses is not None for back in backs)


def test_what_comes_back_starting_is_billed_from_the_report_that_it_runs(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(60)
    scene.returns(WorkloadState.STARTING)
    scene.pass_time(20)
    assert scene.bills() == (100, 100)
    scene.says(WorkloadState.RUNNING)
    scene.pass_time(5)
    assert scene.bills() == (105, 105)


def test_a_stop_inside_a_gap_is_billed_to_the_last_beat_before_it(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(20, noticed=False)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.bills() == (120, 120)
    scene.silent(20)
    assert scene.bills() == (100, 100)
    scene.silent(500)
    scene.returns(WorkloadState.STOPPED)
    scene.pass_time(7)
    assert scene.bills() == (100, 107)


def test_news_of_a_gap_that_come_late_or_twice_change_nothing(scene: Watched) -> None:
    scene.pass_time(100)
    last = clock.epoch()
    scene.silent(60)
    first = scene.returns()
    scene.pass_time(50)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STOPPED)
    before, count = scene.bills(), Transfer.objects.count()
    pause_rentals(NodeLost(node_id=scene.agent.node_id, last_beat=last))
    for _ in range(2):
        bill_again(NodeBack(node_id=scene.agent.node_id, last_beat=last, first_beat=first))
    assert (scene.bills(), Transfer.objects.count()) == (before, count) == ((150, 150), count)


def test_a_beat_alone_does_not_bring_a_lost_machine_back(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(60)
    scene.agent.beat()
    scene.silent(60)
    scene.returns()
    assert scene.bills() == (100, 100)


def test_a_rental_whose_machine_is_silent_is_not_stopped_for_lack_of_money(scene: Watched) -> None:
    spend_down_to(scene, 10)
    heard = scene.seconds("compute")
    scene.silent(20, noticed=False)
    billing.sweep_exhausted()
    scene.drain()
    assert scene.now().state == "running"
    assert scene.seconds("compute") == heard + 10
    scene.silent(20, noticed=False)
    billing.sweep_exhausted()
    scene.drain()
    rental = scene.now()
    assert (rental.state, rental.unreachable_since is None) == ("running", False)
    assert scene.seconds("compute") == heard
    scene.silent(1000)
    scene.returns()
    rental = scene.pass_time(10)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "balance_used_up")
    assert scene.seconds("compute") == heard + 10
