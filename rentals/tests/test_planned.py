"""What stops by itself is known in advance, warned of and saved; and can be put off."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import settings

from audit import services as audit
from billing import services as billing
from core import clock, money
from core.errors import Conflict, Invalid
from hostagent.protocol import CheckpointDone, WorkloadState
from rentals import services
from rentals.models import Rental
from rentals.tests.test_life import Scene
from rentals.tests.test_life import scene as scene
from tests import cast

pytestmark = pytest.mark.django_db


def limit(scene: Scene, **limits: object) -> Rental:
    given: dict[str, object] = {"ends_at": None, "spend_cap": None, **limits}
    return services.set_limits(actor=scene.alice, rental_id=scene.rental.pk, **given)  # type: ignore[arg-type]


def beat_idle(scene: Scene, *, idle: bool) -> Rental:
    scene.agent.report(scene.link, cast.workload_of(scene.rental), WorkloadState.RUNNING, idle=idle)
    scene.drain()
    return scene.now()


def wanted(scene: Scene) -> dict[str, object] | None:
    found: dict[str, object] | None = cast.workload_of(scene.rental).spec.get("checkpoint")
    return found


def test_a_rental_that_idles_stops_after_the_minutes_its_renter_gave_it(scene: Scene) -> None:
    limit(scene, idle_minutes=30)
    scene.pass_time(60)
    assert beat_idle(scene, idle=True).idle_since == clock.from_epoch(clock.epoch() - 60)
    assert "unless it works" in services.describe(scene.rental).sentence
    assert scene.pass_time(29 * 60 - 1).state == "running"
    rental = scene.pass_time(1)
    assert (rental.state, (rental.end or {})["code"]) == ("stopping", "idle")
    assert (scene.seconds("compute"), rental.idle_since) == (30 * 60, None)


def test_work_in_between_begins_the_wait_anew(scene: Scene) -> None:
    limit(scene, idle_minutes=5)
    beat_idle(scene, idle=True)
    scene.pass_time(200)
    assert beat_idle(scene, idle=False).idle_since is None
    assert scene.pass_time(3600).state == "running"
    beat_idle(scene, idle=True)
    scene.pass_time(239)
    assert scene.now().state == "running"
    assert scene.pass_time(1).state == "stopping"


def test_a_wait_that_is_named_late_takes_nothing_back(scene: Scene) -> None:
    beat_idle(scene, idle=True)
    scene.pass_time(3600)
    assert scene.now().state == "running"
    limit(scene, idle_minutes=5)
    assert scene.pass_time(1).state == "stopping"
    assert scene.seconds("compute") == 3601


def test_one_that_does_not_answer_is_not_called_idle(scene: Scene) -> None:
    limit(scene, idle_minutes=5)
    beat_idle(scene, idle=True)
    services.pause_billing(actor=scene.alice, rental_id=scene.rental.pk, at=clock.epoch())
    assert scene.pass_time(3600).state == "running"


@pytest.mark.parametrize("minutes", [0, 4, 10081, -5])
def test_idleness_out_of_range_is_refused_and_changes_nothing(scene: Scene, minutes: int) -> None:
    with pytest.raises(Invalid) as refused:
        limit(scene, idle_minutes=minutes)
    assert (refused.value.code, scene.now().idle_minutes) == ("idle_range", None)


def test_an_end_is_put_off_from_itself_and_a_past_one_from_now(scene: Scene) -> None:
    with pytest.raises(Conflict) as refused:
        services.extend_rental(actor=scene.alice, rental_id=scene.rental.pk, seconds=60)
    assert refused.value.code == "no_end"
    end = clock.now() + dt.timedelta(hours=1)
    limit(scene, ends_at=end, spend_cap=9 * money.NANO, idle_minutes=7)
    services.extend_rental(actor=scene.alice, rental_id=scene.rental.pk, seconds=1800)
    rental = scene.now()
    assert rental.ends_at == end + dt.timedelta(minutes=30)
    assert (rental.spend_cap, rental.idle_minutes) == (9 * money.NANO, 7)
    assert scene.pass_time(5400).state == "stopping"
    scene.says(WorkloadState.STOPPED)
    scene.pass_time(100)
    services.extend_rental(actor=scene.alice, rental_id=scene.rental.pk, seconds=60)
    assert scene.now().ends_at == clock.now() + dt.timedelta(seconds=60)
    for seconds in (0, -1, 10**12):
        with pytest.raises(Invalid) as wrong:
            services.extend_rental(actor=scene.alice, rental_id=scene.rental.pk, seconds=seconds)
        assert wrong.value.code == "ends_at_range"


def set_checkpoint(scene: Scene, command: str = "save", seconds: int = 60) -> None:
    services.set_checkpoint(
        actor=scene.alice, rental_id=scene.rental.pk, command=command, seconds=seconds
    )


def test_work_is_saved_once_before_the_end_while_it_is_still_billed(scene: Scene) -> None:
    set_checkpoint(scene)
    limit(scene, ends_at=clock.now() + dt.timedelta(seconds=600))
    scene.pass_time(500)
    assert wanted(scene) is None
    scene.pass_time(38)
    assert wanted(scene) == {"serial": 1, "command": "save", "timeout_s": 60}
    scene.pass_time(30)
    assert wanted(scene) == {"serial": 1, "command": "save", "timeout_s": 60}
    for code in (0, 0):
        scene.agent.report(
            scene.link,
            cast.workload_of(scene.rental),
            WorkloadState.RUNNING,
            checkpoint=CheckpointDone(serial=1, exit_code=code),
        )
    words = [step.words for step in services.timeline(scene.now())]
    assert words.count("The checkpoint command: it ended with exit 0") == 1
    assert scene.pass_time(32).state == "stopping"
    assert scene.seconds("compute") == 600


def test_an_end_that_is_put_off_is_saved_again(scene: Scene) -> None:
    set_checkpoint(scene)
    limit(scene, ends_at=clock.now() + dt.timedelta(seconds=100))
    scene.pass_time(50)
    assert (wanted(scene) or {})["serial"] == 1
    services.extend_rental(actor=scene.alice, rental_id=scene.rental.pk, seconds=1000)
    scene.pass_time(50)
    scene.pass_time(940)
    assert (wanted(scene) or {})["serial"] == 2


def test_the_last_seconds_of_the_money_are_for_saving(scene: Scene) -> None:
    set_checkpoint(scene, seconds=10)
    runs_out = billing.balance_of(owner_id=scene.alice.user_id).runs_out
    assert runs_out is not None
    lead = 10 + round(settings.DC.reconcile_seconds) + 2
    scene.pass_time(runs_out - clock.epoch() - lead - 1)
    assert wanted(scene) is None
    scene.pass_time(1)
    assert (wanted(scene) or {})["timeout_s"] == 10
    assert scene.pass_time(lead).state == "stopping"
    assert billing.balance_of(owner_id=scene.alice.user_id).total >= 0


def test_a_command_out_of_range_is_refused_and_changes_nothing(scene: Scene) -> None:
    for command, seconds in (("x" * 1001, 60), ("save", 0), ("save", 601), ("a\0b", 5)):
        with pytest.raises(Invalid) as refused:
            set_checkpoint(scene, command, seconds)
        assert refused.value.code == "checkpoint_range"
    assert scene.now().checkpoint_command == ""
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    with pytest.raises(Conflict):
        set_checkpoint(scene)
    audit.seal_new()
