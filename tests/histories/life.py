"""One random life of a renter's rentals, beside the seconds that were usable: who lives it, and what must be so.

One history is one renter with two machines. Everything happens at a clock that only the history moves; the
platform's own work (sweeps, reconcilers, the outbox) is done when the history says so, and may be killed before
any of its statements. What is exact and what is not:

- a renter with enough money, at a clock that goes forward: every rental costs exactly its usable seconds;
- a wallet that was empty for n seconds: at most n seconds less, and never an overdraft;
- after a step of the clock: the invariants (every second at most once, none between, sums, holds, allocations).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import time_machine
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from billing.models import Account, AccountKind, Deposit, Hold, Meter, Refund, Transfer
from billing.providers.base import ProviderEvent
from core import clock, money, outbox
from core.errors import DomainError
from core.ids import new_id
from core.models import OutboxMessage
from nodes import services as nodes
from nodes.models import Allocation, GpuAllocation, PortLease, Workload
from rentals import reconcile
from rentals import services as rentals
from rentals.models import Rental, Template
from tests import cast, invariants
from tests.histories.boxes import Machine
from tests.histories.chance import Ids, Trace
from tests.histories.deaths import killed
from tests.histories.seconds import Seen, Truth, count, without

START = 1_800_000_000
SYSTEM = Actor.system()
some = st.integers(0, 11)
# Before which statement a work is killed, if at all.
fuses = st.none() | st.integers(1, 120)


@dataclass(frozen=True)
class Cast:
    """Who is there before each history begins."""

    alice: Actor
    bob: Actor
    template: Template
    machines: list[Machine]

    @classmethod
    def made(cls) -> Cast:
        with time_machine.travel(START, tick=False):
            cast.proxy_server(count=12)
            bob, alice = cast.person("bob"), cast.person("alice")
            accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
            machines = [Machine.made(bob, 0), Machine.made(bob, 2)]
            return cls(alice, bob, cast.template(), machines)


class Life(RuleBasedStateMachine):
    """One history without anything that happens in it by chance; see the module."""

    cast: ClassVar[Cast]
    ids: ClassVar[Ids]
    # What each history so far was, to be compared with what the same seed gives another time.
    traces: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.traveller = time_machine.travel(START, tick=False)
        self.clock = self.traveller.start()
        self.trace, self.open = Trace(), contextlib.ExitStack()
        # Taken back as a whole at the end. No `atomic`: a rent insists that it is the outermost transaction.
        self.point = transaction.savepoint()
        self.truths: dict[uuid.UUID, Truth] = {}
        self.machine_of: dict[uuid.UUID, Machine] = {}
        self.paid_in = self.dry = 0
        self.stepped, self.latest = False, START
        self.keys: list[tuple[str, uuid.UUID, uuid.UUID]] = []
        self.events: list[ProviderEvent] = []

    @initialize(
        usd=st.sampled_from([0, 3, 10, 100_000, 100_000]),
        steps=st.integers(0, 4),
        stepped=st.sampled_from([False, False, False, True]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, usd: int, steps: int, stepped: bool, seed: int) -> None:
        """Alice, with some money, has rented one of two machines if she could; it is `steps` on its way."""
        self.ids.begin(seed)
        self.open.enter_context(connection.execute_wrapper(self.trace))
        self.stepped = stepped
        self.machines = [replace(machine, boxes={}, gaps=[]) for machine in self.cast.machines]
        self.alice, self.bob, self.template = self.cast.alice, self.cast.bob, self.cast.template
        if usd:
            self._deposit(usd * money.NANO)
        self.rent(usd, 1, None)
        for _ in range(steps):
            self.machines[usd % 2].step()
            self._work(None)

    def teardown(self) -> None:
        try:
            if hasattr(self, "alice"):
                self._settle_down()
                self._judge()
                self.traces.append(self.trace.told)
        finally:
            self.open.close()
            transaction.set_rollback(False)
            transaction.savepoint_rollback(self.point)
            self.traveller.stop()

    def rent(self, where: int, gpus: int, fuse: int | None) -> None:
        machine = self.machines[where % 2]
        try:
            quote = rentals.quote_offer(
                actor=self.alice,
                offer_id=machine.offer.pk,
                template_id=self.template.pk,
                gpu_count=gpus if machine.gpus else 0,
            )
        except DomainError:
            return
        self._rent(f"key-{len(self.keys)}", quote.pk, machine, fuse)

    def _rent(self, key: str, quote_id: uuid.UUID, machine: Machine, fuse: int | None) -> None:
        made: list[Rental] = []

        def work() -> None:
            made.append(
                rentals.request_rental(
                    actor=self.alice, quote_id=quote_id, ssh_key_ids=None, idempotency_key=key
                )
            )

        if not self._refusable(work, fuse) or not made:
            return
        rental = made[0]
        self.keys.append((key, quote_id, rental.pk))
        self.machine_of[rental.pk] = machine
        self.truths[rental.pk] = Truth(phase_since=clock.epoch())
        self._look()

    def _deposit(self, amount: int, times: int = 1) -> None:
        idem = str(new_id())
        for _ in range(times):
            billing.deposit(actor=SYSTEM, owner_id=self.alice.user_id, amount=amount, idem=idem)
        self.paid_in += amount

    # --- Time, and the platform's own work

    def _move(self, seconds: int) -> None:
        before, runs_out = clock.epoch(), self._balance().runs_out
        self.clock.shift(seconds)
        self.latest = max(self.latest, clock.epoch())
        if runs_out is not None:
            self.dry += max(0, clock.epoch() - max(before, runs_out))
        for machine in self.machines:
            machine.beat()

    def _work(self, fuse: int | None) -> None:
        killed(lambda: [work() for work in WORKS], fuse)
        self._look()

    # --- What must be so

    def _refusable(self, work: Callable[[], object], fuse: int | None) -> bool:
        """Do what may be refused or killed; True when it was done, else nothing may have changed."""
        before = self._everything()
        try:
            # Whoever is killed inside of one transaction has done nothing.
            done = not killed(work, fuse)
        except DomainError:
            done = False
        if not done:
            assert self._everything() == before
        return done

    def _everything(self) -> tuple[object, ...]:
        return (
            *Rental.objects.order_by("pk").values_list(),
            *Account.objects.filter(owner_id__isnull=False).order_by("pk").values_list(),
            *Meter.objects.order_by("pk").values_list(),
            *Hold.objects.order_by("pk").values_list(),
            *Workload.objects.order_by("pk").values_list("pk", "wish", "generation", "spec"),
            *Allocation.objects.order_by("pk").values_list("pk", "released_at"),
            *GpuAllocation.objects.order_by("pk").values_list("pk", "released_at"),
            *PortLease.objects.exclude(workload=None).order_by("pk").values_list(),
            Transfer.objects.count(),
            OutboxMessage.objects.count(),
        )

    def _rental(self, which: int) -> Rental | None:
        if not self.truths:
            return None
        return Rental.objects.get(pk=list(self.truths)[which % len(self.truths)])

    def _balance(self) -> billing.Balance:
        return billing.balance_of(owner_id=self.alice.user_id)

    def _look(self) -> None:
        """Let the truth take in what has become of each rental in this step."""
        for rental in Rental.objects.order_by("pk"):
            workload = Workload.objects.get(pk=rental.workload_id)
            ended = {
                meter.kind: meter.ended
                for meter in Meter.objects.filter(subject_id=rental.pk).order_by("ended")
                if meter.ended is not None
            }
            seen = Seen(
                state=rental.state,
                code=(rental.end or {}).get("code", ""),
                running_since=_seconds(rental.running_since),
                phase_since=clock.to_epoch(rental.phase_since),
                ends_at=_seconds(rental.ends_at),
                deleted=workload.wish == "absent",
                runs=workload.observed_state == "running",
                told_at=clock.to_epoch(workload.state_since or rental.created_at),
                last_end=ended,
            )
            self.trace.note(seen)
            self.truths[rental.pk].follow(seen, clock.epoch(), self._gaps(rental.pk))
        balance = self._balance()
        self.trace.note(balance)
        assert balance.total >= balance.locked >= 0

    def _gaps(self, rental_id: uuid.UUID) -> list[tuple[int, int]]:
        machine = self.machine_of[rental_id]
        now = clock.epoch()
        silent = machine.silent_since
        return machine.gaps if silent is None else [*machine.gaps, (silent, now)]

    def _settle_down(self) -> None:
        """Every machine is heard again, and everything that waits is done."""
        # What was put off before the clock was set back is due when it is that late again.
        self._move(self.latest - clock.epoch())
        # An event that failed a few times is due again minutes later.
        for _ in range(40):
            # A message that was in hand when its worker died is due again a little later.
            self._move(11)
            for machine in self.machines:
                machine.come_back(signs_in=True, limit=settings.DC.offline_seconds)
                machine.step()
            self._work(None)
            if invariants.quiet():
                break
        else:
            states = list(Rental.objects.values_list("pk", "state", "end"))
            waits = list(OutboxMessage.objects.values_list("topic", "attempts", "due_at"))
            raise AssertionError(f"it never came to rest: {states} {waits} {clock.now()}")

    def _judge(self) -> None:
        audit.seal_new()
        assert invariants.broken() == []
        total = 0
        for rental in Rental.objects.order_by("pk"):
            bill = billing.bill_of(subject_id=rental.pk)
            total += bill.total
            for line in billing.derive_charges(subject_id=rental.pk):
                assert line.agrees, line
            if not self.stepped:
                self._judge_one(rental, bill)
        balance = self._balance()
        assert balance.total == self._paid_in() - total + self._given_back()
        self._judge_holds()

    def _paid_in(self) -> int:
        """Return what was paid in, less what banks took back of it: no more than they ever asked for."""
        wallets = Account.objects.filter(kind=AccountKind.WALLET, owner_id=self.alice.user_id)
        mine = wallets.values("pk")
        other = Transfer.objects.filter(meter=None, reverses=None).exclude(kind="undone")
        other = other.exclude(group_id__in=Refund.objects.values("pk"))
        came = other.filter(dst__in=mine, kind="deposit").aggregate(sum=Sum("amount"))["sum"] or 0
        paid = Deposit.objects.filter(payment__gt="").aggregate(sum=Sum("amount"))["sum"] or 0
        assert came == self.paid_in + paid
        bank = other.exclude(kind="deposit")
        out = bank.filter(src__in=mine).aggregate(sum=Sum("amount"))["sum"] or 0
        back = bank.filter(dst__in=mine).aggregate(sum=Sum("amount"))["sum"] or 0
        assert 0 <= out - back <= paid
        return int(came + back - out)

    def _given_back(self) -> int:
        """Return what faults of machines brought the renter, less what a later mending of the bill undid."""
        wallets = Account.objects.filter(kind=AccountKind.WALLET, owner_id=self.alice.user_id)
        legs = Transfer.objects.filter(
            group_id__in=Refund.objects.values("pk"), dst__in=wallets.values("pk")
        )
        undone = Transfer.objects.filter(kind="undone", src__in=wallets.values("pk"))
        sums = [rows.aggregate(sum=Sum("amount"))["sum"] or 0 for rows in (legs, undone)]
        return int(sums[0] - sums[1])

    def _judge_one(self, rental: Rental, bill: billing.Bill) -> None:
        truth, gaps = self.truths[rental.pk], self.machine_of[rental.pk].gaps
        for kind, use in (("compute", truth.work), ("storage", truth.disk)):
            usable = count(without(use.until(clock.epoch()), gaps))
            billed = sum(line.seconds for line in bill.lines if line.kind == kind)
            least = usable - self.dry - truth.loose
            assert least <= billed <= usable, (kind, billed, usable, use, gaps, bill.lines)

    def _judge_holds(self) -> None:
        held = {row for row in Hold.objects.filter(released_at=None).values_list("pk", flat=True)}
        columns = Rental.objects.values_list("compute_hold_id", "storage_hold_id")
        assert held == {key for row in columns for key in row if key is not None}


def _seconds(instant: dt.datetime | None) -> int | None:
    return None if instant is None else clock.to_epoch(instant)


WORKS: list[Callable[[], object]] = [
    nodes.sweep_liveness,
    reconcile.enforce_limits,
    reconcile.sweep,
    billing.sweep_exhausted,
    outbox.drain,
]
