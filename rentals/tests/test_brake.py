"""Stopping, starting and failing again and again gives nobody a machine for nothing."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import settings

from billing import services as billing
from billing.models import Refund
from core import clock
from core.errors import Conflict, RateLimited
from hostagent.protocol import WorkloadState
from nodes.models import Allocation
from rentals import probing, reconcile, services
from rentals.models import FailedStart, Rental
from rentals.probing import Sign
from rentals.tests.test_life import Scene
from rentals.tests.test_life import scene as scene
from tests import cast

pytestmark = pytest.mark.django_db
UP = WorkloadState.RUNNING


def start(scene: Scene) -> None:
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)


def test_a_stop_that_is_turned_round_was_none(scene: Scene) -> None:
    for _ in range(3):
        scene.pass_time(2)
        services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.pass_time(8)
        start(scene)
        reconcile.sweep()
        assert scene.now().state == "running"
    scene.pass_time(5)
    assert scene.seconds("compute") == 35


def test_a_stop_that_was_carried_out_is_billed_again_from_when_the_container_is_up(
    scene: Scene,
) -> None:
    scene.pass_time(10)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.pass_time(4)
    scene.says(WorkloadState.STOPPED)
    scene.pass_time(100)
    start(scene)
    scene.pass_time(3)
    scene.says(WorkloadState.STARTING, UP)
    scene.pass_time(6)
    assert scene.seconds("compute") == 16


def test_ssh_that_answers_late_is_billed_from_when_the_container_was_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.stopped()
    start(scene)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    assert scene.says(UP).state == "starting"
    scene.pass_time(90)
    monkeypatch.undo()
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
    reconcile.sweep()
    assert (scene.now().state, scene.seconds("compute")) == ("running", 90)


def test_news_of_traffic_or_idleness_does_not_put_off_from_when_a_later_start_is_billed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.stopped()
    start(scene)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    assert scene.says(UP).state == "starting"
    for step in range(1, 10):
        scene.pass_time(10)
        scene.says(UP, sent_bytes=64_000_000 * step, idle=bool(step % 2))
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
    reconcile.sweep()
    assert (scene.now().state, scene.seconds("compute")) == ("running", 90)


def test_a_restart_is_billed_through_when_it_answers_and_not_at_all_when_it_does_not(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.pass_time(10)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.pass_time(20)
    scene.says(WorkloadState.STOPPING, WorkloadState.STARTING)
    scene.agent.report(scene.link, cast.workload_of(scene.rental), UP, restarts=1)
    scene.drain()
    assert (scene.now().state, scene.seconds("compute")) == ("running", 30)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    monkeypatch.setattr(probing, "look", lambda *a, **k: Sign.SILENT)
    scene.agent.report(scene.link, cast.workload_of(scene.rental), UP, restarts=2)
    scene.pass_time(121)
    reconcile.sweep()
    rental = scene.now()
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "ssh_silent")
    assert (scene.seconds("compute"), rental.billed_until) == (30, None)


def test_an_outage_during_a_turn_round_is_not_billed(scene: Scene) -> None:
    scene.pass_time(10)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    lost = clock.epoch()
    scene.traveller.shift(40)
    reconcile.pause_node(scene.rental.node_id, lost)
    assert scene.now().billed_until is None
    scene.agent.beat()
    start(scene)
    reconcile.sweep()
    assert scene.now().state == "running"
    assert scene.seconds("compute") == 10


def fail_to_start(scene: Scene) -> Rental:
    start(scene)
    scene.says(WorkloadState.FAILED, code="container_exited", message="Exit 1.")
    return scene.says(WorkloadState.STOPPED)


def test_five_failed_starts_within_an_hour_are_enough(scene: Scene) -> None:
    scene.stopped()
    for _ in range(5):
        assert fail_to_start(scene).state == "stopped"
    with pytest.raises(RateLimited) as refused:
        start(scene)
    assert refused.value.code == "failed_starts"
    assert (scene.now().state, Allocation.objects.filter(released_at=None).count()) == (
        "stopped",
        0,
    )
    with pytest.raises(RateLimited):
        cast.rented(scene.alice, scene.offer)
    with pytest.raises(RateLimited):
        services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == _storage_hold(scene)
    scene.pass_time(3600)
    start(scene)
    assert services.forget_failed_starts() == 0
    scene.pass_time(23 * 3600)
    assert services.forget_failed_starts() == 5


def _storage_hold(scene: Scene) -> int:
    return scene.rental.storage_rate * 48 * 3600


def test_failures_of_machines_do_not_count(scene: Scene) -> None:
    scene.stopped()
    for _ in range(6):
        start(scene)
        scene.says(WorkloadState.FAILED, code="container_start_failed", message="No space left.")
        scene.says(WorkloadState.STOPPED)
    assert FailedStart.objects.count() == 0
    start(scene)


@pytest.mark.parametrize(
    ("code", "party", "counted"),
    [("image_cannot_start", "renter", 1), ("hardware_failed", "host", 0)],
)
def test_a_refused_start_names_whose_doing_it_is_and_pays_nobody(
    scene: Scene, code: str, party: str, counted: int
) -> None:
    scene.pass_time(3600)
    scene.stopped()
    start(scene)
    scene.says(WorkloadState.FAILED, code=code, message="unable to find user nobodyhere")
    rental = scene.says(WorkloadState.STOPPED)
    assert rental.end == {
        "party": party,
        "code": code,
        "message": "unable to find user nobodyhere",
        "fault": "none" if party == "renter" else party,
        "refund": "0.00",
    }
    assert (FailedStart.objects.count(), Refund.objects.count()) == (counted, 0)


def test_a_refused_start_counts_nothing(scene: Scene) -> None:
    scene.stopped()
    other = cast.person("carol", usd=50)
    cast.rented(other, scene.offer)
    with pytest.raises(Conflict):
        start(scene)
    assert FailedStart.objects.count() == 0


def hold(scene: Scene, phase: WorkloadState, seconds: int) -> None:
    """Rent the machine, let its workload come as far as `phase`, and cancel after so many seconds."""
    scene.rental = cast.rented(scene.alice, scene.offer)
    scene.says(WorkloadState.PULLING)
    if phase is UP:
        scene.says(WorkloadState.STARTING, UP)
    scene.traveller.shift(seconds)
    scene.agent.beat()
    reconcile.sweep()
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.says(WorkloadState.ABSENT).state == "ended"


@pytest.fixture
def idle(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene whose rental has ended, and whose next ones never answer."""
    cast.proxy_server(count=40)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    return scene


@pytest.mark.parametrize(
    ("phase", "seconds", "times"), [(UP, 119, 5), (WorkloadState.PULLING, 1199, 7)]
)
def test_starts_that_are_cancelled_just_before_their_deadline_are_limited(
    idle: Scene, phase: WorkloadState, seconds: int, times: int
) -> None:
    for _ in range(times):
        hold(idle, phase, seconds)
    before = Rental.objects.count()
    with pytest.raises(RateLimited) as refused:
        cast.rented(idle.alice, idle.offer)
    assert (refused.value.code, Rental.objects.count()) == ("failed_starts", before)
    idle.pass_time(86_400)
    hold(idle, phase, 1)


def test_whoever_changes_his_mind_soon_holds_nobody_up(idle: Scene) -> None:
    for _ in range(10):
        hold(idle, WorkloadState.PULLING, 60)
    assert FailedStart.objects.count() == 0


def test_the_refusal_says_when_enough_of_the_time_is_a_day_old(idle: Scene) -> None:
    began = clock.now()
    for _ in range(7):
        hold(idle, WorkloadState.PULLING, 1199)
    with pytest.raises(RateLimited, match="120 minutes within") as refused:
        cast.rented(idle.alice, idle.offer)
    # 7 x 1199 s are less than two hours again when the first one is a day old.
    assert f"{clock.from_epoch(clock.to_epoch(began) + 1199):%H:%M} UTC" in str(refused.value)


def answer_after(scene: Scene, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Rent the machine, let SSH answer so many seconds after the container is up, and end it a second later."""
    scene.rental = cast.rented(scene.alice, scene.offer)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: not seconds)
    scene.says(WorkloadState.STARTING, UP)
    if seconds:
        scene.pass_time(seconds)
        monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
        reconcile.sweep()
    assert scene.now().state == "running"
    scene.pass_time(1)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert scene.says(WorkloadState.ABSENT).state == "ended"
    assert scene.seconds("compute") == 1


@pytest.mark.parametrize(("seconds", "times"), [(110, 6), (60, 10)])
def test_first_starts_that_answer_late_hold_machines_for_so_long_a_day_and_no_longer(
    idle: Scene, monkeypatch: pytest.MonkeyPatch, seconds: int, times: int
) -> None:
    monkeypatch.setattr(settings.DC, "unpaid_start_seconds_per_day", 600)
    for _ in range(times):
        answer_after(idle, monkeypatch, seconds)
    before = Rental.objects.count()
    with pytest.raises(RateLimited, match="for 10 minutes within a day before") as refused:
        cast.rented(idle.alice, idle.offer)
    assert (refused.value.code, Rental.objects.count()) == ("failed_starts", before)
    # None of them has failed, so an hour does not help; a day does.
    idle.pass_time(3600)
    with pytest.raises(RateLimited):
        cast.rented(idle.alice, idle.offer)
    idle.pass_time(86_400)
    answer_after(idle, monkeypatch, seconds)


def test_an_honest_slow_image_is_free_until_it_answers_and_only_its_time_is_remembered(
    idle: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in (0, 90, 0):
        answer_after(idle, monkeypatch, seconds)
    found = FailedStart.objects.values_list("code", "seconds")
    assert list(found) == [("slow_start", 90)]


def test_a_later_start_that_answers_late_is_billed_and_not_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.stopped()
    start(scene)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    scene.says(UP)
    scene.pass_time(90)
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: True)
    reconcile.sweep()
    assert (scene.seconds("compute"), FailedStart.objects.count()) == (90, 0)


def test_the_seconds_in_which_a_container_resists_its_stop_are_not_free_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "unpaid_start_seconds_per_day", 60)
    before = scene.seconds("compute")
    for rounds in range(6):
        scene.pass_time(1)
        services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
        # It ignores SIGTERM and works until its engine kills it.
        scene.pass_time(10)
        scene.says(WorkloadState.STOPPED)
        if rounds < 5:
            start(scene)
            scene.says(WorkloadState.STARTING, UP)
            assert scene.now().state == "running"
    with pytest.raises(RateLimited) as refused:
        start(scene)
    assert (refused.value.code, scene.seconds("compute") - before) == ("failed_starts", 6)


def test_a_machine_that_was_away_while_it_stopped_costs_its_renter_a_stop_and_no_more(
    scene: Scene,
) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.pass_time(3000)
    scene.says(WorkloadState.STOPPED)
    noted = FailedStart.objects.get()
    assert (noted.code, noted.seconds) == ("slow_stop", 15)


def test_starts_under_way_are_no_more_than_can_all_fail_within_what_is_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever begins many at the same moment computes through all of them for two minutes."""
    scene.says(UP)
    monkeypatch.setattr(settings.DC, "unpaid_start_seconds_per_day", 300)
    cast.proxy_server(count=20)
    for number in range(3):
        _, offer = cast.machine(scene.bob, name=f"m{number}")
        cast.rented(scene.alice, offer)
    _, offer = cast.machine(scene.bob, name="one-too-many")
    before = Rental.objects.count()
    with pytest.raises(RateLimited, match="3 of your starts") as refused:
        cast.rented(scene.alice, offer)
    assert (refused.value.code, Rental.objects.count()) == ("starts_under_way", before)
    # Nobody else waits for her, and she herself only until one of them ends.
    assert cast.rented(cast.person("carol", usd=100), offer).state == "reserved"
    mine = Rental.objects.filter(state="reserved", renter_id=scene.alice.user_id)
    services.end_rental(actor=scene.alice, rental_id=mine.first().pk)  # type: ignore[union-attr]
    _, offer = cast.machine(scene.bob, name="another")
    cast.rented(scene.alice, offer)


def test_failures_of_a_clock_that_was_ahead_lock_nobody_out(scene: Scene) -> None:
    scene.says(UP)
    ahead = clock.now() + dt.timedelta(days=300)
    for _ in range(5):
        FailedStart.objects.create(
            renter_id=scene.rental.renter_id,
            rental=scene.rental,
            code="ssh_silent",
            seconds=9,
            at=ahead,
        )
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert services.forget_failed_starts() == 5
