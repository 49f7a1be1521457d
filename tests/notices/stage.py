"""alice, bob and his machine, at a clock that only the test moves; everything goes through the services."""

from __future__ import annotations

from collections.abc import Callable

import time_machine

from billing import services as billing
from billing.models import Deposit
from billing.providers.base import Kind, ProviderEvent
from core import money
from core.ids import new_id
from core.models import OutboxMessage
from hostagent.protocol import WorkloadState
from nodes import gateway
from nodes import services as nodes
from rentals import probing, reconcile, services, tasks
from rentals.models import Rental
from rentals.probing import Sign
from tests import cast

USD = money.NANO


class Stage:
    """What a cause of a notice plays on. `drain` handles every event there is, each twice."""

    sign = Sign.ANSWERS

    def __init__(self, drain: Callable[[], int], traveller: time_machine.Traveller) -> None:
        self.once, self.traveller = drain, traveller
        self.alice, self.bob = cast.person("alice", usd=50), cast.person("bob")

    def look(self, *args: object, **more: object) -> Sign:
        """Stand at the renter's end of the tunnel."""
        return self.sign

    def drain(self) -> None:
        """Deliver every event twice, as a worker that dies after its work and before its delete would."""
        for _ in range(20):
            twins = [
                OutboxMessage(
                    topic=row.topic,
                    payload=row.payload,
                    created_at=row.created_at,
                    due_at=row.due_at,
                )
                for row in OutboxMessage.objects.all()
            ]
            if not twins:
                return
            OutboxMessage.objects.bulk_create(twins)
            self.once()

    def machine(self, *, gpus: int = 0) -> None:
        """Let bob's machine join and connect."""
        cast.proxy_server()
        self.agent, self.offer = cast.machine(self.bob, gpus=gpus)
        self.link = self.agent.connect()
        self.drain()

    def rented(self) -> Rental:
        """Let alice rent it."""
        self.machine()
        self.rental = cast.rented(self.alice, self.offer)
        self.drain()
        return self.rental

    def running(self) -> Rental:
        """Let alice rent it and use it."""
        self.rented()
        return self.says(WorkloadState.STARTING, WorkloadState.RUNNING)

    def stopped(self) -> Rental:
        """Let alice stop what she uses."""
        self.running()
        services.stop_rental(actor=self.alice, rental_id=self.rental.pk)
        return self.says(WorkloadState.STOPPED)

    def says(self, *states: WorkloadState, **more: str | int) -> Rental:
        """Let the agent report; everything that follows from it happens."""
        for state in states:
            self.agent.report(self.link, cast.workload_of(self.rental), state, **more)
            self.drain()
        self.rental.refresh_from_db()
        return self.rental

    def pass_time(self, seconds: int) -> None:
        """Let time pass with the machine beating, and the clock's tasks run at its end."""
        self.traveller.shift(seconds)
        self.agent.beat()
        tasks.probe_rentals()
        reconcile.enforce_limits()
        billing.sweep_exhausted()
        self.drain()

    def silence(self, seconds: int) -> None:
        """Let the machine be silent for so long, and the clock notice it."""
        self.traveller.shift(seconds)
        nodes.sweep_liveness()
        self.drain()

    def hello(self, **changes: object) -> None:
        """Let the agent connect again, saying something else of its machine."""
        link = self.agent.dial()
        hello = self.agent.hello(link)
        for name, value in changes.items():
            setattr(hello, name, value)
        gateway.handle(link, hello)
        self.link = link
        self.drain()

    def spend_down_to(self, seconds: int) -> None:
        """Leave alice money for so many seconds of what runs now."""
        balance = billing.balance_of(owner_id=self.alice.user_id)
        billing.place_hold(
            actor=self.alice,
            owner_id=self.alice.user_id,
            amount=balance.available - balance.burn * seconds,
            reason="test",
            subject_id=new_id(),
        )

    def deposit(self) -> Deposit:
        """Let alice ask to pay 20 in."""
        return billing.request_deposit(
            actor=self.alice, amount=20 * USD, idempotency_key=str(new_id())
        )

    def provider_says(self, deposit: Deposit, kind: Kind) -> None:
        """Let the provider of payments tell something of a deposit."""
        event = ProviderEvent(
            id=str(new_id()),
            kind=kind,
            deposit_id=deposit.pk,
            amount=deposit.amount,
            currency=deposit.currency,
            ref=f"of {deposit.pk}",
            payment=f"pi {deposit.pk}",
        )
        billing.apply_event(provider=deposit.provider, event=event)
        self.drain()


__all__ = ["Stage", "probing"]
