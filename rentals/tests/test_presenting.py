"""The word and the sentence of each state, exactly as people read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine

from hostagent.protocol import PullProgress, WorkloadState
from nodes.machine import NodeStatus
from nodes.models import Node
from rentals import probing, reconcile, services
from rentals.models import Rental
from rentals.services.presenting import Description
from rentals.tests.test_life import DAY, Scene, spend_down_to
from tests import cast

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as moving:
        yield moving


@pytest.fixture
def scene(
    drain: Drain, traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    return Scene(drain, traveller)


def told(rental: Rental) -> Description:
    rental.refresh_from_db()
    return services.describe(rental)


def names(rental: Rental) -> list[tuple[str, str, bool]]:
    rental.refresh_from_db()
    return [(a.label, a.consequence, a.destroys) for a in services.rental_actions(rental)]


def test_the_way_up_is_told_with_bytes_and_seconds_and_costs_nothing(
    drain: Drain, traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(cast.person("alice", usd=50), offer)
    first = told(rental)
    assert (first.label, first.tone) == ("Reserving", "waiting")
    assert first.sentence == (
        "Holding the whole machine on atlas-03 for you. Your address is already fixed."
    )
    assert names(rental) == [("Cancel", "Costs nothing.", False)]

    link, workload = agent.connect(), cast.workload_of(rental)
    agent.report(link, workload, WorkloadState.PULLING)
    drain()
    assert told(rental).sentence == "Asking the registry. You pay nothing yet."
    for progress, sentence in (
        (PullProgress(current=250_000_000), "0.25 GB so far. You pay nothing yet."),
        (
            PullProgress(current=500_000_000, total=1_250_000_000),
            "0.50 of 1.25 GB so far. You pay nothing yet.",
        ),
    ):
        agent.report(link, workload, WorkloadState.PULLING, pull=progress)
        drain()
        pulling = told(rental)
        assert (pulling.label, pulling.sentence) == ("Downloading image", sentence)
        assert (pulling.pull_current, pulling.pull_total) == (progress.current, progress.total)

    agent.report(link, workload, WorkloadState.STARTING)
    drain()
    traveller.shift(7)
    assert told(rental) == Description(
        "Starting",
        "Container is up; waiting for SSH to answer through your address (7 s).",
        "waiting",
    )


def test_cards_are_counted_in_the_sentence(traveller: time_machine.Traveller) -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"), gpus=4)
    rental = cast.rented(cast.person("alice", usd=50), offer)
    assert told(rental).sentence.startswith("Holding 4 GPUs on atlas-03 for you.")


def test_running_tells_price_spent_and_what_is_left(scene: Scene) -> None:
    scene.pass_time(3600)
    running = told(scene.rental)
    assert (running.label, running.tone) == ("Running", "usable")
    assert running.sentence.startswith(
        "Usable since 21 Nov, 12:00 UTC. $0.0514 an hour, $0.0514 so far, "
    )
    assert running.sentence.endswith(" days left on your balance.")
    assert [label for label, _, _ in names(scene.rental)] == ["Stop", "Restart", "Recreate", "End"]
    assert names(scene.rental)[3] == ("End", "Deletes the disk and stops every charge.", True)


@pytest.mark.parametrize(
    ("left", "words"),
    [(3 * DAY, "3 days left"), (5 * 3600 + 59, "5 h left"), (119, "1 min left")],
)
def test_what_is_left_is_told_in_its_largest_unit(scene: Scene, left: int, words: str) -> None:
    spend_down_to(scene, left)
    assert words in told(scene.rental).sentence


def test_a_cap_that_is_near_is_told_beside_the_rest(scene: Scene) -> None:
    rate = scene.rental.compute_rate + scene.rental.storage_rate
    services.set_limits(
        actor=scene.alice, rental_id=scene.rental.pk, ends_at=None, spend_cap=100_000 * rate
    )
    scene.pass_time(85_000)
    assert told(scene.rental).sentence.endswith(" It stops at your cap of $1.43, which is near.")


def test_a_silent_host_is_told_with_the_seconds_and_the_way_out(scene: Scene) -> None:
    scene.pass_time(100)
    reconcile.pause_node(scene.rental.node_id, int(scene.now().phase_since.timestamp()) + 100)
    scene.traveller.shift(45)
    assert told(scene.rental) == Description(
        "Host not answering",
        "Last heard 45 s ago. The meter stopped at that moment. You can end it free of charge.",
        "failed",
    )


def test_stopping_says_whether_the_machine_still_answers(scene: Scene) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert told(scene.rental).sentence == "Letting your processes finish, up to 10 s."
    Node.objects.update(status=NodeStatus.OFFLINE.value)
    silent = services.describe(Rental.objects.select_related("node").get(pk=scene.rental.pk))
    assert silent.sentence == "The machine does not answer; nothing is billed meanwhile."


def test_stopped_tells_the_price_of_the_disk_and_what_it_waits_for(scene: Scene) -> None:
    scene.stopped()
    assert told(scene.rental) == Description(
        "Stopped, disk kept",
        "10 GB for $0.0337 a day. The machine may be taken by someone else meanwhile.",
        "neutral",
    )
    reconcile.pause_node(scene.rental.node_id, int(scene.now().phase_since.timestamp()))
    assert told(scene.rental).sentence == (
        "Its machine does not answer since 21 Nov, 12:00 UTC; the disk costs nothing meanwhile."
    )


def test_a_disk_on_its_reserve_says_until_when_and_what_to_do(scene: Scene) -> None:
    spend_down_to(scene, 0)
    scene.pass_time(500)
    scene.says(WorkloadState.STOPPED)
    stopped = told(scene.rental)
    assert stopped.tone == "failed"
    assert stopped.sentence.startswith("Your balance is used up. The disk is kept for now. 10 GB")
    assert stopped.sentence.endswith("UTC; add money before that to keep it longer.")


def test_the_end_says_whose_doing_it_was_and_the_final_bill(scene: Scene) -> None:
    scene.pass_time(3600)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    ended = told(scene.rental)
    assert (ended.label, ended.tone) == ("Ended", "neutral")
    assert ended.sentence.endswith("Ended 21 Nov, 13:00 UTC. Final bill $0.0514.")
    assert names(scene.rental) == []


@pytest.mark.parametrize(
    ("party", "code", "label"),
    [
        ("host", "host_removed", "Ended: host failed"),
        ("platform", "lost", "Ended: platform failed"),
        ("renter", "balance_used_up", "Ended: balance used up"),
        ("renter", "disk_unpaid", "Ended: balance used up"),
        ("renter", "ended_by_renter", "Ended"),
    ],
)
def test_the_label_of_the_end_names_who_failed(
    scene: Scene, party: str, code: str, label: str
) -> None:
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    rental = scene.says(WorkloadState.ABSENT)
    rental.end = {"party": party, "code": code, "message": "Why."}
    ended = services.describe(rental)
    assert ended.label == label
    assert ended.tone == ("neutral" if label == "Ended" else "failed")
    assert ended.sentence.startswith("Why. Ended 21 Nov, 12:00 UTC.")
