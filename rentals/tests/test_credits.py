"""Faults are credited by themselves: by rule, once, with the evidence, and only when they are the machine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.test import Client

from accounts.models import User
from audit import services as audit
from billing import services as billing
from billing.models import Refund
from core import money
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from rentals import credits, probing, reasons, services
from rentals.probing import Sign
from rentals.tests.test_life import Scene
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]
HOUR = 3600


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "look", lambda *a, **k: Sign.ANSWERS)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        assert scene.now().state == "running"
        yield scene
        audit.seal_new()
        assert broken() == []


def credit_of(scene: Scene) -> Refund | None:
    return Refund.objects.filter(subject_id=scene.rental.pk, kind="credit").first()


def paid_for(scene: Scene, kind: str) -> int:
    bill = billing.bill_of(subject_id=scene.rental.pk)
    return sum(line.amount for line in bill.lines if line.kind == kind)


def test_a_machine_that_loses_the_disk_gives_a_day_of_everything_back(
    scene: Scene, client: Client
) -> None:
    scene.pass_time(2 * HOUR)
    before = billing.balance_of(owner_id=scene.alice.user_id).total
    rental = scene.says(WorkloadState.ABSENT)
    made = credit_of(scene)
    assert made is not None
    assert made.amount == paid_for(scene, "compute") + paid_for(scene, "storage")
    assert billing.balance_of(owner_id=scene.alice.user_id).total == before + made.amount
    assert (rental.end or {})["refund"] == money.decimal_string(made.amount)
    assert made.evidence["code"] == "host_removed"
    assert made.evidence["machine"] == str(rental.node_id)
    steps = [step.words for step in services.timeline(rental) if step.verb == "rental.credited"]
    assert steps == [f"Credited for a fault: ${money.human_string(made.amount)}, disk_lost"]
    client.force_login(User.objects.get(pk=scene.alice.user_id))
    page = client.get(f"/rentals/{rental.pk}/bill/").content.decode()
    assert 'data-given="credit"' in page
    scene.says(WorkloadState.ABSENT)
    assert Refund.objects.count() == 1


def test_an_engine_that_fails_gives_the_last_hour_of_work_back(scene: Scene) -> None:
    scene.pass_time(3 * HOUR)
    scene.says(WorkloadState.FAILED, code="container_start_failed", message="No.")
    made = credit_of(scene)
    assert made is not None
    assert made.amount == scene.rental.compute_rate * HOUR


def break_it(scene: Scene, code: str = "container_start_failed") -> None:
    """`rm -rf /work; touch /work` in an image whose WORKDIR that is: the engine refuses the next start."""
    scene.says(WorkloadState.STOPPING)
    scene.says(WorkloadState.FAILED, code=code, message="Cannot mkdir: /work is not a directory.")
    scene.says(WorkloadState.STOPPED)


def test_a_renter_who_breaks_the_container_and_restarts_it_pays_for_the_work(scene: Scene) -> None:
    before = billing.balance_of(owner_id=scene.alice.user_id).total
    for turn in range(8):
        scene.pass_time(HOUR)
        services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
        break_it(scene)
        assert (scene.now().state, credit_of(scene)) == ("stopped", None)
        services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
        scene.says(WorkloadState.STARTING, WorkloadState.RUNNING, restarts=turn + 1)
        assert scene.now().state == "running"
    paid = before - billing.balance_of(owner_id=scene.alice.user_id).total
    assert paid == 8 * HOUR * (scene.rental.compute_rate + scene.rental.storage_rate)


@pytest.mark.parametrize("code", credits.RULES[1].codes)
def test_a_stop_and_a_start_that_the_engine_refuses_give_nothing_back(
    scene: Scene, code: str
) -> None:
    scene.pass_time(HOUR)
    scene.stopped()
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    break_it(scene, code)
    assert (scene.now().state, credit_of(scene)) == ("stopped", None)


@pytest.mark.parametrize("code", ["image_missing", "image_login_refused", "secret_gone"])
def test_a_fresh_container_that_cannot_be_made_has_lost_no_disk(scene: Scene, code: str) -> None:
    """Its renter deleted the image, or its log-in, after asking for a fresh container."""
    scene.pass_time(HOUR)
    services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    scene.says(WorkloadState.FAILED, code=code, message="No.")
    rental = scene.says(WorkloadState.ABSENT)
    assert (rental.state, (rental.end or {})["code"], credit_of(scene)) == ("ended", code, None)
    assert (rental.end or {})["refund"] == "0.00"


def test_a_disk_that_was_made_afresh_and_used_counts_like_any_other(scene: Scene) -> None:
    services.recreate_rental(actor=scene.alice, rental_id=scene.rental.pk, confirmed=True)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.pass_time(HOUR)
    scene.says(WorkloadState.ABSENT)
    made = credit_of(scene)
    assert made is not None
    assert made.amount == paid_for(scene, "compute") + paid_for(scene, "storage")


def test_what_a_renter_can_cause_is_not_credited(scene: Scene) -> None:
    scene.pass_time(HOUR)
    scene.says(WorkloadState.FAILED, code="container_exited", message="Exit 1.")
    assert credit_of(scene) is None


def test_ending_what_a_lost_machine_holds_gives_the_last_hour_back(scene: Scene) -> None:
    scene.pass_time(2 * HOUR)
    scene.traveller.shift(60)
    nodes.sweep_liveness()
    scene.drain()
    assert scene.now().unreachable_since is not None
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.drain()
    made = credit_of(scene)
    assert made is not None
    assert made.amount == scene.rental.compute_rate * HOUR
    assert made.incident.startswith("host_lost:")


def test_every_code_of_a_rule_is_in_the_catalogue_of_reasons_or_reserved() -> None:
    codes = {code for rule in credits.RULES for code in rule.codes}
    assert codes - {"hardware_failed"} <= set(reasons.CATALOGUE)
    assert credits.rule_of(code="host_removed", has_run=False, machine_lost=True) is None
    assert credits.rule_of(code="ended_by_renter", has_run=True, machine_lost=False) is None
