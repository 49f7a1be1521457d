"""An address that does not answer, a machine that is lost: the meters stand still, and go on at the right second."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest
import time_machine

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import bus, clock
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes.machine import NodeStatus
from nodes.models import Node
from rentals import probing, reconcile, services, tasks
from rentals.models import FailedStart, Rental
from rentals.probing import Sign
from rentals.tests.test_life import Scene
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


class Outage(Scene):
    """alice's running rental, with an address that the test lets answer or not."""

    sign = Sign.ANSWERS

    def probe(self, after: int) -> Rental:
        """Let `after` seconds pass and look at every running rental, as the clock's task does."""
        self.traveller.shift(after)
        tasks.probe_rentals()
        return self.now()

    def verbs(self) -> list[str]:
        return [event.verb for event in audit.timeline(subject_id=self.rental.pk)]


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    monkeypatch.setattr(probing, "look", lambda *a, **k: Outage.sign)
    monkeypatch.setattr(Outage, "sign", Sign.ANSWERS)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Outage(drain, traveller)
        assert scene.now().state == "running"
        yield scene
        audit.seal_new()
        assert broken() == []


def test_two_misses_stop_the_bill_at_the_last_good_answer_and_one_answer_goes_on(
    scene: Outage,
) -> None:
    scene.probe(30)
    Outage.sign = Sign.CLOSED
    assert scene.probe(30).unreachable_since is None
    rental = scene.probe(30)
    assert rental.unreachable_since == clock.from_epoch(clock.epoch() - 60)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (30, 30)
    scene.probe(1000)
    assert scene.seconds("compute") == 30
    assert scene.verbs().count("rental.unreachable") == 1
    Outage.sign = Sign.ANSWERS
    assert scene.probe(30).unreachable_since is None
    scene.traveller.shift(15)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (45, 45)
    assert scene.verbs()[-2:] == ["rental.unreachable", "rental.reachable"]


def test_one_miss_alone_costs_the_host_nothing(scene: Outage) -> None:
    Outage.sign = Sign.CLOSED
    scene.probe(30)
    Outage.sign = Sign.ANSWERS
    assert scene.probe(30).missed_probes == 0
    Outage.sign = Sign.CLOSED
    assert scene.probe(30).unreachable_since is None
    assert scene.seconds("compute") == 90


def test_an_outage_can_be_ended_free_of_what_nobody_could_use(scene: Outage) -> None:
    scene.probe(30)
    Outage.sign = Sign.CLOSED
    scene.probe(30)
    scene.probe(30)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.traveller.shift(60)
    services.resume_billing(actor=Actor.system(), rental_id=scene.rental.pk, at=clock.epoch())
    rental = scene.says(WorkloadState.ABSENT)
    assert rental.state == "ended"
    assert billing.bill_of(subject_id=rental.pk).total == 30 * (
        rental.compute_rate + rental.storage_rate
    )


def test_a_lost_machine_is_not_probed_and_its_disk_costs_again_from_its_first_beat(
    scene: Outage,
) -> None:
    scene.stopped()
    scene.traveller.shift(100)
    lost_at = clock.epoch()
    reconcile.pause_node(scene.rental.node_id, lost_at)
    reconcile.pause_node(scene.rental.node_id, lost_at + 50)
    scene.traveller.shift(500)
    assert scene.seconds("storage") == 100
    reconcile.bridge_gap(scene.rental.node_id, lost_at, clock.epoch())
    reconcile.bridge_gap(scene.rental.node_id, lost_at, clock.epoch())
    scene.traveller.shift(20)
    assert scene.seconds("storage") == 120
    assert scene.verbs()[-2:] == ["rental.unreachable", "rental.reachable"]


def test_what_ended_before_anybody_noticed_the_silence_is_not_billed_for_it(
    scene: Outage, drain: Drain
) -> None:
    scene.traveller.shift(29)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.seconds("compute") == 29
    scene.traveller.shift(11)
    link = scene.agent.connect()
    scene.agent.report(link, cast.workload_of(scene.rental), WorkloadState.ABSENT)
    reconcile.sweep()
    assert scene.now().state == "ended"
    drain()
    assert (scene.seconds("compute"), scene.seconds("storage")) == (0, 0)


def test_a_silence_that_nobody_noticed_is_not_billed_when_the_same_session_beats_again(
    scene: Outage, drain: Drain
) -> None:
    beat = {(scene.agent.node_id, scene.link.epoch): 0.0}
    scene.agent.beat()
    scene.traveller.shift(29)
    nodes.record_beats(beats=dict.fromkeys(beat, clock.now().timestamp()))
    drain()
    assert scene.seconds("compute") == 29
    scene.traveller.shift(31)
    nodes.record_beats(beats=dict.fromkeys(beat, clock.now().timestamp()))
    drain()
    scene.traveller.shift(7)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (36, 36)


def test_what_had_stopped_to_answer_before_its_machine_was_lost_is_billed_when_it_answers(
    scene: Outage,
) -> None:
    scene.probe(10)
    Outage.sign = Sign.CLOSED
    scene.probe(30)
    scene.probe(30)
    Outage.sign = Sign.ANSWERS
    Node.objects.update(status=NodeStatus.OFFLINE.value)
    lost_at = clock.epoch()
    reconcile.pause_node(scene.rental.node_id, lost_at)
    Node.objects.update(status=NodeStatus.ONLINE.value)
    reconcile.bridge_gap(scene.rental.node_id, lost_at, clock.epoch())
    scene.traveller.shift(40)
    assert (scene.now().unreachable_since is None, scene.seconds("compute")) == (False, 10)
    assert scene.probe(0).unreachable_since is None
    scene.traveller.shift(5)
    assert scene.seconds("compute") == 15


def test_a_rental_that_stops_unreachable_costs_again_once_its_machine_says_stopped(
    scene: Outage,
) -> None:
    scene.probe(10)
    reconcile.pause_node(scene.rental.node_id, clock.epoch())
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.traveller.shift(300)
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, rental.unreachable_since) == ("stopped", None)
    scene.traveller.shift(7)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (10, 17)


def test_a_late_probe_of_what_no_longer_runs_changes_nothing(scene: Outage) -> None:
    scene.stopped()
    services.note_probe(
        actor=Actor.system(), rental_id=scene.rental.pk, sign=Sign.CLOSED, at=clock.now()
    )
    assert (scene.now().missed_probes, scene.now().state) == (0, "stopped")


def test_only_one_prober_at_a_time(scene: Outage) -> None:
    Outage.sign = Sign.CLOSED
    with bus.alone("rentals.probe", seconds=60):
        assert scene.probe(30).missed_probes == 0
    assert scene.probe(30).missed_probes == 1


def test_a_renter_who_switches_ssh_off_pays_until_it_is_stopped(scene: Outage) -> None:
    scene.probe(30)
    Outage.sign = Sign.SILENT
    rental = scene.now()
    for _ in range(6):
        rental = scene.probe(30)
        assert (rental.state, rental.unreachable_since) == ("running", None)
    assert "No SSH server answers in it since 21 Nov, 12:01" in services.describe(rental).sentence
    rental = scene.probe(30)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "ssh_silent")
    assert (scene.seconds("compute"), scene.seconds("storage")) == (240, 240)
    # What is paid for needs no brake.
    assert FailedStart.objects.count() == 0
    scene.traveller.shift(10)
    assert scene.says(WorkloadState.STOPPED).state == "stopped"
    assert (scene.seconds("compute"), scene.seconds("storage")) == (240, 250)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_an_ssh_server_that_answers_now_and_then_is_billed_like_any_other(
    scene: Outage, every: int
) -> None:
    for turn in range(1, 241):
        Outage.sign = Sign.SILENT if turn % every else Sign.ANSWERS
        scene.agent.beat()
        scene.probe(30)
    assert (scene.now().state, scene.verbs().count("rental.unreachable")) == ("running", 0)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (7200, 7200)


def test_an_address_that_is_closed_on_our_side_stops_nothing(scene: Outage) -> None:
    Outage.sign = Sign.CLOSED
    for _ in range(20):
        scene.probe(30)
    assert (scene.now().state, scene.seconds("compute")) == ("running", 0)


def test_after_an_outage_work_is_billed_from_when_its_address_was_open_again(scene: Outage) -> None:
    Outage.sign = Sign.CLOSED
    for _ in range(20):
        scene.probe(30)
    Outage.sign = Sign.SILENT
    for _ in range(3):
        rental = scene.probe(30)
        assert (rental.unreachable_since is None, scene.seconds("compute")) == (False, 0)
    Outage.sign = Sign.ANSWERS
    rental = scene.probe(30)
    assert (rental.unreachable_since, rental.silent_probes) == (None, 0)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (90, 90)


def test_silence_after_an_outage_is_billed_from_when_its_address_was_open_again_until_the_stop(
    scene: Outage,
) -> None:
    Outage.sign = Sign.CLOSED
    for _ in range(4):
        scene.probe(30)
    Outage.sign = Sign.SILENT
    for _ in range(7):
        scene.probe(30)
    rental = scene.now()
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "ssh_silent")
    assert (scene.seconds("compute"), scene.seconds("storage")) == (180, 180)


def test_a_tunnel_that_dies_slowly_is_unbilled_from_the_last_good_answer(scene: Outage) -> None:
    """The server keeps an address open until it misses the machine's own heartbeat."""
    scene.probe(30)
    for sign in (Sign.SILENT, Sign.SILENT, Sign.CLOSED, Sign.SILENT, Sign.CLOSED):
        Outage.sign = sign
        scene.probe(30)
    assert scene.now().unreachable_since is not None
    assert (scene.seconds("compute"), scene.seconds("storage")) == (30, 30)


def test_silence_before_its_machine_was_lost_brings_none_of_the_gap_on_the_bill(
    scene: Outage,
) -> None:
    scene.probe(30)
    Outage.sign = Sign.SILENT
    scene.probe(30)
    lost_at = clock.epoch()
    scene.traveller.shift(300)
    reconcile.pause_node(scene.rental.node_id, lost_at)
    scene.traveller.shift(300)
    Outage.sign = Sign.ANSWERS
    scene.probe(0)
    scene.traveller.shift(5)
    assert (scene.seconds("compute"), scene.seconds("storage")) == (65, 65)


def looked(scene: Outage, sign: Sign, ago: int = 0) -> Rental:
    """Write down a look that began so many seconds ago."""
    at = clock.now() - dt.timedelta(seconds=ago)
    services.note_probe(actor=Actor.system(), rental_id=scene.rental.pk, sign=sign, at=at)
    return scene.now()


def test_six_looks_within_a_second_are_no_three_minutes_of_silence(scene: Outage) -> None:
    scene.pass_time(60)
    for _ in range(6):
        looked(scene, Sign.SILENT)
    assert (scene.now().state, scene.now().silent_since) == ("running", clock.now())


def test_two_looks_within_a_second_are_no_outage_and_two_rounds_are(scene: Outage) -> None:
    scene.pass_time(60)
    for _ in range(2):
        looked(scene, Sign.CLOSED)
    assert (scene.now().missed_probes, scene.now().unreachable_since) == (1, None)
    scene.traveller.shift(15)
    assert looked(scene, Sign.CLOSED).unreachable_since == clock.from_epoch(clock.epoch() - 75)


def test_late_rounds_stop_what_is_silent_no_later_than_others(scene: Outage) -> None:
    Outage.sign = Sign.SILENT
    for _ in range(3):
        assert scene.probe(80).state == "running"
    # The third look was 160 s after the first one.
    assert scene.probe(20).state == "stopping"


def test_a_silence_that_nobody_watched_is_none(scene: Outage) -> None:
    Outage.sign = Sign.SILENT
    scene.probe(30)
    assert scene.probe(3600).state == "running"
    assert scene.now().silent_since == clock.now()
    assert scene.probe(180).state == "stopping"


def test_a_look_from_before_a_restart_or_before_a_newer_one_says_nothing(scene: Outage) -> None:
    scene.pass_time(60)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING)
    scene.says(WorkloadState.RUNNING, restarts=1)
    before = Rental.objects.values().get()
    assert before["state"] == "running"
    looked(scene, Sign.CLOSED, ago=1)
    scene.traveller.shift(30)
    looked(scene, Sign.ANSWERS)
    after = Rental.objects.values().get()
    looked(scene, Sign.CLOSED, ago=1)
    assert Rental.objects.values().get() == after
    assert (after["missed_probes"], after["probed_at"]) == (0, clock.now())


def test_looks_count_again_at_once_when_the_clock_was_set_back(scene: Outage) -> None:
    scene.probe(30)
    scene.traveller.shift(-3600)
    Outage.sign = Sign.SILENT
    assert scene.probe(30).silent_since == clock.now()
    scene.probe(90)
    assert scene.probe(90).state == "stopping"
