"""Rent, use, stop, pay: the services, with an agent that speaks the real protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import time_machine

from accounts import services as accounts
from audit import services as audit
from billing import services as billing
from core import clock, money
from core.errors import Conflict, FundsInsufficient, NotFound
from core.ids import new_id
from hostagent.protocol import WorkloadState
from nodes.models import Allocation, PortLease
from rentals import probing, services
from rentals.models import Rental
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public address answers: what the system tier does with a real sshd behind a real frps."""
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)


def running_rental(drain: Drain, *, usd: int = 50) -> tuple[Rental, cast.ProtocolAgent]:
    cast.proxy_server()
    alice, bob = cast.person("alice", usd=usd), cast.person("bob")
    agent, offer = cast.machine(bob)
    rental = cast.rented(alice, offer)
    drain()
    link = agent.connect()
    workload = cast.workload_of(rental)
    for state in (WorkloadState.PULLING, WorkloadState.STARTING, WorkloadState.RUNNING):
        agent.report(link, workload, state)
        drain()
    rental.refresh_from_db()
    return rental, agent


def test_a_rental_goes_from_reserved_to_running_to_ended_and_the_bill_adds_up(
    answering: None, drain: Drain
) -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        rental, agent = running_rental(drain)
        assert rental.state == "running"
        traveller.shift(3600)
        agent.beat()
        alice = accounts.actor_of(rental.renter)
        services.end_rental(actor=alice, rental_id=rental.pk)
        link = agent.connect()
        agent.report(link, cast.workload_of(rental), WorkloadState.ABSENT)
        drain()
        rental.refresh_from_db()
        assert rental.state == "ended"
        bill = billing.bill_of(subject_id=rental.pk)
        assert {line.kind: line.seconds for line in bill.lines} == {
            "compute": 3600,
            "storage": 3600,
        }
        expected = 3600 * (rental.compute_rate + rental.storage_rate)
        assert bill.total == expected
        balance = billing.balance_of(owner_id=rental.renter_id)
        assert (balance.total, balance.locked) == (50 * money.NANO - expected, 0)
        earned = billing.earnings_of(owner_id=rental.node.owner_id).total
        assert 0 < earned < expected
        audit.seal_new()
        assert broken() == []
        assert not Allocation.objects.filter(released_at=None).exists()


def test_nothing_is_billed_before_the_address_answers(
    monkeypatch: pytest.MonkeyPatch, drain: Drain
) -> None:
    monkeypatch.setattr(probing, "wait_for_ssh", lambda *a, **k: False)
    rental, _ = running_rental(drain)
    assert rental.state == "starting"
    assert billing.bill_of(subject_id=rental.pk).lines == []


def test_stop_keeps_the_disk_and_start_brings_it_back(answering: None, drain: Drain) -> None:
    rental, agent = running_rental(drain)
    alice = accounts.actor_of(rental.renter)
    services.stop_rental(actor=alice, rental_id=rental.pk)
    link = agent.connect()
    agent.report(link, cast.workload_of(rental), WorkloadState.STOPPED)
    drain()
    rental.refresh_from_db()
    assert (rental.state, rental.compute_meter_id) == ("stopped", None)
    assert rental.storage_meter_id is not None
    services.start_rental(actor=alice, rental_id=rental.pk)
    agent.report(link, cast.workload_of(rental), WorkloadState.RUNNING)
    drain()
    rental.refresh_from_db()
    assert rental.state == "running"
    audit.seal_new()
    assert broken() == []


def test_too_little_money_is_a_402_with_the_missing_amount_and_changes_nothing(
    drain: Drain,
) -> None:
    cast.proxy_server()
    alice, bob = cast.person("alice"), cast.person("bob")
    _, offer = cast.machine(bob)
    with pytest.raises(FundsInsufficient) as refused:
        cast.rented(alice, offer)
    assert (refused.value.code, refused.value.status) == ("funds_insufficient", 402)
    assert float(refused.value.data["missing"]) > 0
    assert not Rental.objects.exists()
    assert not Allocation.objects.exists()
    assert not PortLease.objects.filter(workload__isnull=False).exists()


def test_a_stale_quote_is_refused_and_costs_nothing() -> None:
    cast.proxy_server()
    alice, bob = cast.person("alice", usd=50), cast.person("bob")
    _, offer = cast.machine(bob)
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    with time_machine.travel(clock.now(), tick=False) as traveller:
        quote = services.quote_offer(actor=alice, offer_id=offer.pk, template_id=cast.template().pk)
        traveller.shift(121)
        with pytest.raises(Conflict) as refused:
            services.request_rental(
                actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key="k"
            )
    assert refused.value.code == "quote_expired"
    assert billing.balance_of(owner_id=alice.user_id).locked == 0


def test_somebody_elses_rental_does_not_exist_for_carol(answering: None, drain: Drain) -> None:
    rental, _ = running_rental(drain)
    carol = cast.person("carol")
    with pytest.raises(NotFound) as refused:
        services.end_rental(actor=carol, rental_id=rental.pk)
    assert refused.value.code == "rental_unknown"
    rental.refresh_from_db()
    assert rental.state == "running"


def test_a_repeated_request_returns_the_same_rental_and_holds_once(drain: Drain) -> None:
    cast.proxy_server()
    alice, bob = cast.person("alice", usd=50), cast.person("bob")
    _, offer = cast.machine(bob)
    first = cast.rented(alice, offer, key="once")
    locked = billing.balance_of(owner_id=alice.user_id).locked
    again = services.request_rental(
        actor=alice, quote_id=first.quote_id, ssh_key_ids=None, idempotency_key="once"
    )
    assert again.pk == first.pk
    assert billing.balance_of(owner_id=alice.user_id).locked == locked
    with pytest.raises(Conflict, match="different request"):
        services.request_rental(
            actor=alice, quote_id=new_id(), ssh_key_ids=None, idempotency_key="once"
        )


def test_an_image_that_does_not_exist_ends_the_rental_with_the_reason_and_no_charge(
    drain: Drain,
) -> None:
    cast.proxy_server()
    alice, bob = cast.person("alice", usd=50), cast.person("bob")
    agent, offer = cast.machine(bob)
    rental = cast.rented(alice, offer)
    link = agent.connect()
    workload = cast.workload_of(rental)
    agent.report(
        link,
        workload,
        WorkloadState.FAILED,
        code="image_missing",
        message="There is no image nope:1.",
    )
    drain()
    agent.report(link, workload, WorkloadState.ABSENT)
    drain()
    rental.refresh_from_db()
    assert rental.state == "ended"
    assert rental.end is not None
    assert rental.end["code"] == "image_missing"
    assert services.describe(rental).label == "Could not start"
    assert billing.bill_of(subject_id=rental.pk).total == 0
    assert billing.balance_of(owner_id=alice.user_id).available == 50 * money.NANO
    audit.seal_new()
    assert broken() == []
