"""An outage of the platform's own tunnel server: noticed, kept as evidence, and paid for by the platform."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import time_machine
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.actors import Actor
from audit import services as audit
from audit.models import AuditEvent
from billing import services as billing
from billing.models import Refund
from billing.tests.payments import stripe_that_says
from core import clock, money
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes import tasks as node_tasks
from nodes.models import ProxyServer, TunnelOutage
from rentals import probing, reconcile, services, tasks
from rentals.probing import Sign
from rentals.services.crediting import credit_tunnels
from rentals.tests.test_life import Scene
from tests.invariants import broken

pytestmark = pytest.mark.django_db
SYSTEM = Actor.system()
LOOK = 5


class Tunnels(Scene):
    """alice's running rental, probed and looked at as the clock would."""

    sign = Sign.ANSWERS

    def live(self, seconds: int, *, down: bool = False, probes: bool = True) -> None:
        """Let time pass, looking at the tunnel server every 5 s and at the rental every 30 s."""
        self.sign = Sign.CLOSED if down else Sign.ANSWERS
        for second in range(LOOK, seconds + 1, LOOK):
            self.traveller.shift(LOOK)
            self.agent.beat()
            nodes.note_tunnels(server_name="local", error="no answer" if down else "")
            if probes and second % 30 == 0:
                tasks.probe_rentals()
        self.drain()

    def settle(self) -> None:
        self.live(70)
        tasks.settle_tunnel_outages()
        tasks.settle_tunnel_outages()
        self.drain()

    def rate(self) -> int:
        return self.rental.compute_rate + self.rental.storage_rate

    def total(self, who: Actor) -> int:
        return billing.balance_of(owner_id=who.user_id).total


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Tunnels]:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        monkeypatch.setattr(probing, "look", lambda *a, **k: Sign.ANSWERS)
        scene = Tunnels(drain, traveller)
        monkeypatch.setattr(probing, "look", lambda *a, **k: scene.sign)
        scene.live(60)
        yield scene
        audit.seal_new()
        assert broken() == []


def test_the_renter_gets_the_time_back_and_the_host_keeps_its_share(scene: Tunnels) -> None:
    since = clock.epoch()
    scene.live(300, down=True)
    assert scene.now().unreachable_since is None
    until = clock.epoch() + LOOK
    scene.live(60)
    scene.settle()
    [made] = Refund.objects.all()
    assert (made.kind, made.borne_by) == ("credit", "platform")
    assert made.amount == scene.rate() * (until - since) == scene.rate() * 305
    assert (made.evidence["from"], made.evidence["to"]) == (since, until)
    assert (made.evidence["looks"], made.evidence["error"]) == (60, "no answer")
    outage = TunnelOutage.objects.get()
    assert outage.settled_at is not None
    bill = billing.bill_of(subject_id=scene.rental.pk)
    assert sum(line.seconds for line in bill.lines if line.kind == "compute") >= 60 + 305
    told = AuditEvent.objects.filter(subject_id=str(outage.pk)).values_list("verb", flat=True)
    assert sorted(told) == ["tunnels.back", "tunnels.down"]
    steps = [step.words for step in services.timeline(scene.now()) if "tunnels_down" in step.words]
    assert len(steps) == 1


def test_thirty_seconds_or_less_are_not_credited(scene: Tunnels) -> None:
    scene.live(25, down=True, probes=False)
    scene.settle()
    assert (Refund.objects.count(), TunnelOutage.objects.get().settled_at is None) == (0, False)
    scene.live(30, down=True, probes=False)
    scene.settle()
    assert Refund.objects.get().amount == scene.rate() * 35


def test_nothing_is_credited_before_its_seconds_are_past_mending(scene: Tunnels) -> None:
    scene.live(60, down=True)
    scene.live(30)
    tasks.settle_tunnel_outages()
    assert (Refund.objects.count(), TunnelOutage.objects.get().settled_at) == (0, None)
    scene.settle()
    assert Refund.objects.count() == 1


def test_a_clock_that_stops_between_the_credit_and_its_note_credits_once(scene: Tunnels) -> None:
    scene.live(60, down=True)
    scene.live(70)
    outage = TunnelOutage.objects.get()
    before = scene.total(scene.alice)
    for _ in range(2):
        credit_tunnels(actor=SYSTEM, rental_id=scene.rental.pk, outage_id=outage.pk)
    scene.settle()
    assert Refund.objects.count() == 1
    assert scene.total(scene.alice) == before + Refund.objects.get().amount - 70 * scene.rate()


def test_what_was_not_billed_is_not_given_back_and_what_stood_still_gets_nothing(
    scene: Tunnels,
) -> None:
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STOPPED)
    scene.live(60, down=True)
    scene.settle()
    assert Refund.objects.count() == 0
    assert TunnelOutage.objects.get().settled_at is not None


def test_who_had_not_looked_for_a_while_says_only_what_is_known(scene: Tunnels) -> None:
    scene.traveller.shift(3600)
    nodes.note_tunnels(server_name="local", error="no answer")
    assert clock.to_epoch(TunnelOutage.objects.get().since) == clock.epoch()
    nodes.note_tunnels(server_name="local", error="")
    assert nodes.note_tunnels(server_name="elsewhere", error="x") is None


def test_one_outage_of_a_server_is_open_at_a_time(scene: Tunnels) -> None:
    nodes.note_tunnels(server_name="local", error="no answer")
    with pytest.raises(IntegrityError), transaction.atomic():
        TunnelOutage.objects.create(server=ProxyServer.objects.get(), since=clock.now())
    nodes.note_tunnels(server_name="local", error="")


def test_the_clock_asks_frps_itself(scene: Tunnels, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(settings.DC, "frps_admin_url", f"http://127.0.0.1:{port}")
    node_tasks.watch_tunnels()
    outage = TunnelOutage.objects.get()
    assert (outage.looks, outage.until) == (1, None)
    assert "ConnectError" in outage.error
    with stripe_that_says({"serverinfo": {"version": "0.70.1"}}) as (base, seen):
        monkeypatch.setattr(settings.DC, "frps_admin_url", base)
        node_tasks.watch_tunnels()
    outage.refresh_from_db()
    assert (outage.until is None, seen) == (False, ["serverinfo"])


def test_a_price_that_is_agreed_during_an_outage_is_not_what_the_platform_pays(
    scene: Tunnels,
) -> None:
    before = scene.rate()
    scene.live(30, down=True)
    # Both are one person: they see that their tunnel is down, and who will pay for it.
    change = services.offer_raise(
        actor=scene.bob, rental_id=scene.rental.pk,
        compute_hourly=Decimal(900), storage_gb_monthly=Decimal("0.10"),
    )  # fmt: skip
    services.answer_price(
        actor=scene.alice, rental_id=scene.rental.pk, change_id=change.pk, accept=True
    )
    scene.live(120, down=True)
    scene.live(5)
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.settle()
    made = Refund.objects.get()
    down = made.evidence["to"] - made.evidence["from"]
    assert (made.borne_by, made.amount, down) == ("platform", before * down, 155)


def test_the_platform_pays_no_fancy_price_for_its_own_outage(
    scene: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "tunnel_credit_most_hourly", Decimal("0.01"))
    scene.live(60, down=True)
    scene.settle()
    seconds = Refund.objects.get().evidence
    down = seconds["to"] - seconds["from"]
    compute, storage = money.rate_from_hourly(Decimal("0.01")), scene.rental.storage_rate
    assert compute < scene.rental.compute_rate
    assert Refund.objects.get().amount == (compute + min(storage, compute)) * down


def test_two_outages_within_one_posting_are_both_given_back(scene: Tunnels) -> None:
    # The worker that settles was away for a while; the one that posts was not.
    for _ in range(2):
        scene.live(60, down=True)
        scene.live(60)
    scene.live(70)
    billing.roll_up()
    scene.settle()
    given = sum(made.amount for made in Refund.objects.all())
    assert (Refund.objects.count(), given) == (2, scene.rate() * 130)


def late(scene: Tunnels, sign: Sign, looks: int) -> None:
    """Our server answers again; each look at the rental finds `sign`."""
    scene.sign = sign
    for _ in range(looks):
        scene.traveller.shift(30)
        scene.agent.beat()
        nodes.note_tunnels(server_name="local", error="")
        tasks.probe_rentals()
        scene.drain()


def test_an_outage_of_the_machine_after_one_of_ours_gives_no_second_back_twice(
    scene: Tunnels,
) -> None:
    before, since = scene.total(scene.alice), clock.epoch()
    scene.live(3600)
    last_good = clock.epoch()
    scene.live(600, down=True)
    # Nobody greets in the container, say because alice has stopped its SSH server ...
    late(scene, Sign.SILENT, 4)
    tasks.settle_tunnel_outages()
    [made] = Refund.objects.all()
    assert (made.borne_by, made.amount) == ("platform", scene.rate() * 630)
    # ... and then its host closes its tunnel: the last good look was before our outage.
    late(scene, Sign.CLOSED, 2)
    lost_since = scene.now().unreachable_since
    assert lost_since is not None
    assert clock.to_epoch(lost_since) == made.evidence["to"] == last_good + 630
    assert before - scene.total(scene.alice) == scene.rate() * (last_good - since)


def test_a_host_whose_tunnel_comes_back_later_than_our_server_is_paid_for_our_outage(
    scene: Tunnels,
) -> None:
    scene.live(600)
    since = clock.epoch()
    scene.live(600, down=True)
    nodes.note_tunnels(server_name="local", error="")
    until = clock.epoch()
    late(scene, Sign.CLOSED, 2)
    lost_since = scene.now().unreachable_since
    assert lost_since is not None
    assert clock.to_epoch(lost_since) == until
    scene.settle()
    [made] = Refund.objects.all()
    assert (made.borne_by, made.amount) == ("platform", scene.rate() * (until - since))


def test_a_closed_address_long_after_our_outage_is_unbilled_from_the_last_good_look(
    scene: Tunnels,
) -> None:
    scene.live(60, down=True)
    scene.live(300)
    last_good = scene.now().last_probe
    late(scene, Sign.CLOSED, 2)
    assert scene.now().unreachable_since == last_good


def test_who_restarts_during_our_outage_gets_back_what_was_billed_through(
    scene: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = clock.epoch()
    scene.live(60, down=True)
    for name in ("ssh_answers", "wait_for_ssh"):
        monkeypatch.setattr(probing, name, lambda *a, **k: False)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.RUNNING, restarts=1)
    scene.live(30, down=True)
    # What is up again answers a while after its address, and its outage could be dealt with before.
    scene.live(70)
    tasks.settle_tunnel_outages()
    assert (Refund.objects.count(), TunnelOutage.objects.get().settled_at) == (0, None)
    for name in ("ssh_answers", "wait_for_ssh"):
        monkeypatch.setattr(probing, name, lambda *a, **k: True)
    reconcile.sweep()
    assert scene.now().state == "running"
    scene.settle()
    made = Refund.objects.get()
    assert (made.evidence["from"], made.evidence["to"]) == (since, since + 95)
    assert made.amount == scene.rate() * 95
    assert TunnelOutage.objects.get().settled_at is not None


def test_who_restarts_just_after_our_outage_gets_the_time_back(
    scene: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ssh_answers", "wait_for_ssh"):
        monkeypatch.setattr(probing, name, lambda *a, **k: True)
    scene.live(60, down=True)
    scene.live(10)
    services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.RUNNING, restarts=1)
    assert scene.now().state == "running"
    scene.settle()
    assert Refund.objects.get().amount == scene.rate() * 65


def test_a_restart_that_is_never_decided_keeps_nobody_waiting_for_more_than_an_hour(
    scene: Tunnels,
) -> None:
    since = clock.epoch()
    scene.live(60, down=True)
    # Its machine never says that it has stopped it.
    services.stop_rental(actor=scene.alice, rental_id=scene.rental.pk)
    stopped = clock.epoch()
    scene.live(30, down=True)
    scene.settle()
    assert (Refund.objects.count(), TunnelOutage.objects.get().settled_at) == (0, None)
    for _ in range(60):
        scene.traveller.shift(60)
        scene.agent.beat()
    scene.settle()
    made = Refund.objects.get()
    work = scene.rental.compute_rate * (stopped - since)
    assert made.amount == work + scene.rental.storage_rate * 95
    assert TunnelOutage.objects.get().settled_at is not None
