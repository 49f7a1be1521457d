"""Random lives of rentals: people, agents, clocks and deaths, beside the seconds that were usable.

One history is one renter with two machines. Everything happens at a clock that only the history moves; the
platform's own work (sweeps, reconcilers, the outbox) is done when the history says so, and may be killed before
any of its statements. What is exact and what is not:

- a renter with enough money, at a clock that goes forward: every rental costs exactly its usable seconds;
- a wallet that was empty for n seconds: at most n seconds less, and never an overdraft;
- after a step of the clock: the invariants (every second at most once, none between, sums, holds, allocations).
"""

from __future__ import annotations

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
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from billing.models import Account, AccountKind, Hold, Meter, Refund, Transfer
from billing.providers.base import Kind, ProviderEvent
from core import clock, money, outbox
from core.errors import DomainError
from core.ids import new_id
from core.models import OutboxMessage
from nodes import services as nodes
from nodes.models import Allocation, GpuAllocation, PortLease, Workload
from rentals import reconcile
from rentals import services as rentals
from rentals.machine import State, actions
from rentals.models import Rental, Template
from tests import cast, invariants
from tests.histories.boxes import Machine
from tests.histories.seconds import Seen, Truth, count, without

START = 1_800_000_000
SIX_HOURS = 6 * 3600
SYSTEM = Actor.system()
WAITS = [1, 7, 29, 59, 61, 200, 3600, SIX_HOURS, 60 * 3600]
some = st.integers(0, 11)
# Before which statement a work is killed, if at all.
fuses = st.none() | st.integers(1, 120)


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Fuse:
    """Kills whoever executes statements before the nth of them; what was committed stays."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, execute: Callable[..., object], sql: str, *more: object) -> object:
        # The borders of transactions are Django's, which would lose count of them.
        if not sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            self.left -= 1
            if self.left == 0:
                raise Killed
        return execute(sql, *more)


def killed(work: Callable[[], object], fuse: int | None) -> bool:
    """Do it, unless it is killed first; return whether it was."""
    if fuse is None:
        work()
        return False
    try:
        with connection.execute_wrapper(Fuse(fuse)):
            work()
    except Killed:
        return True
    return False


@dataclass(frozen=True)
class Cast:
    """Who is there before each history begins."""

    alice: Actor
    template: Template
    machines: list[Machine]

    @classmethod
    def made(cls) -> Cast:
        with time_machine.travel(START, tick=False):
            cast.proxy_server(count=12)
            bob, alice = cast.person("bob"), cast.person("alice")
            accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
            return cls(alice, cast.template(), [Machine.made(bob, 0), Machine.made(bob, 2)])


class RentalLives(RuleBasedStateMachine):
    """One history; see the module."""

    cast: ClassVar[Cast]

    def __init__(self) -> None:
        super().__init__()
        self.traveller = time_machine.travel(START, tick=False)
        self.clock = self.traveller.start()
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
    )
    def begin(self, usd: int, steps: int, stepped: bool) -> None:
        """Alice, with some money, has rented one of two machines if she could; it is `steps` on its way."""
        self.stepped = stepped
        self.machines = [replace(machine, boxes={}, gaps=[]) for machine in self.cast.machines]
        self.alice, self.template = self.cast.alice, self.cast.template
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
        finally:
            transaction.savepoint_rollback(self.point)
            self.traveller.stop()

    # --- The renter

    @rule(where=some, gpus=st.integers(1, 2), fuse=fuses)
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

    @rule(which=some)
    def rent_again(self, which: int) -> None:
        if not self.keys:
            return
        key, quote_id, rental_id = self.keys[which % len(self.keys)]
        before = self._everything()
        again = rentals.request_rental(
            actor=self.alice, quote_id=quote_id, ssh_key_ids=None, idempotency_key=key
        )
        assert again.pk == rental_id
        assert self._everything() == before

    @rule(which=some, verb=some, fuse=fuses, twice=st.booleans())
    def steer(self, which: int, verb: int, fuse: int | None, twice: bool) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        verbs = [v.value for v in actions(State(rental.state), ending=False)] or ["end"]
        self._steer(rental.pk, verbs[verb % len(verbs)], fuse)
        if twice:
            self._steer(rental.pk, verbs[verb % len(verbs)], None)

    def _steer(self, rental_id: uuid.UUID, verb: str, fuse: int | None) -> None:
        more = {"confirmed": True} if verb == "recreate" else {}

        def work() -> None:
            getattr(rentals, f"{verb}_rental")(actor=self.alice, rental_id=rental_id, **more)

        self._refusable(work, fuse)
        self._look()

    @rule(which=some, minutes=st.sampled_from([None, 1, 70]), cents=st.sampled_from([None, 1, 30]))
    def limit(self, which: int, minutes: int | None, cents: int | None) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        spent = billing.bill_of(subject_id=rental.pk).total
        ends_at = None if minutes is None else clock.now() + dt.timedelta(minutes=minutes)
        cap = None if cents is None else spent + cents * money.NANO // 100

        def work() -> None:
            rentals.set_limits(
                actor=self.alice, rental_id=rental.pk, ends_at=ends_at, spend_cap=cap
            )

        self._refusable(work, None)

    @rule(amount=st.sampled_from([1, money.NANO // 10, 20 * money.NANO]), again=st.booleans())
    def top_up(self, amount: int, again: bool) -> None:
        self._deposit(amount, times=1 + again)

    def _deposit(self, amount: int, times: int = 1) -> None:
        idem = str(new_id())
        for _ in range(times):
            billing.deposit(actor=SYSTEM, owner_id=self.alice.user_id, amount=amount, idem=idem)
        self.paid_in += amount

    @rule(fuse=fuses, again=some)
    def pay(self, fuse: int | None, again: int) -> None:
        """A webhook tells of a payment, and now and then one tells again what was told before."""
        if self.events:
            self._pay_again(again)
        asked = billing.request_deposit(
            actor=self.alice, amount=5 * money.NANO, idempotency_key=str(new_id())
        )
        event = ProviderEvent(
            id=f"ev-{asked.pk}", kind=Kind.PAID, deposit_id=asked.pk, amount=asked.amount,
            currency=asked.currency, payment=f"pi-{asked.pk}",
        )  # fmt: skip
        if self._refusable(lambda: self._told(event), fuse):
            self.events.append(event)
            self.paid_in += asked.amount

    def _pay_again(self, which: int) -> None:
        before = self._everything()
        assert self._told(self.events[which % len(self.events)]) == "duplicate"
        assert self._everything() == before

    def _told(self, event: ProviderEvent) -> str:
        return billing.apply_event(provider=settings.DC.payments, event=event)

    # --- The machines

    @rule(which=some, steps=st.integers(1, 3), then=st.booleans())
    def agent(self, which: int, steps: int, then: bool) -> None:
        machine = self.machines[which % 2]
        for _ in range(steps):
            if machine.silent_since is None:
                machine.step()
                if then:
                    self._work(None)

    @rule(which=some, state=st.sampled_from(["failed", "absent"]))
    def container_dies(self, which: int, state: str) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        machine = self.machine_of[rental.pk]
        box = machine.boxes.get(str(rental.workload_id))
        if box is not None and box.state in {"starting", "running", "stopped"}:
            box.state = state
            machine.tell()

    @precondition(lambda self: any(m.silent_since is None for m in self.machines))
    @rule(which=some)
    def fall_silent(self, which: int) -> None:
        self.machines[which % 2].fall_silent()

    @precondition(lambda self: any(m.silent_since is not None for m in self.machines))
    @rule(which=some, signs_in=st.booleans())
    def come_back(self, which: int, signs_in: bool) -> None:
        self.machines[which % 2].come_back(signs_in=signs_in, limit=settings.DC.offline_seconds)

    # --- Time, and the platform's own work

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: int) -> None:
        self._move(seconds)

    @precondition(lambda self: self.stepped)
    @rule(seconds=st.integers(-SIX_HOURS, SIX_HOURS))
    def step_clock(self, seconds: int) -> None:
        self._move(seconds)

    def _move(self, seconds: int) -> None:
        before, runs_out = clock.epoch(), self._balance().runs_out
        self.clock.shift(seconds)
        self.latest = max(self.latest, clock.epoch())
        if runs_out is not None:
            self.dry += max(0, clock.epoch() - max(before, runs_out))
        for machine in self.machines:
            machine.beat()

    @rule()
    def roll_up(self) -> None:
        billing.roll_up()

    @rule(fuse=fuses)
    def work(self, fuse: int | None) -> None:
        self._work(fuse)

    @rule(which=st.integers(0, 4), fuse=fuses)
    def work_a_little(self, which: int, fuse: int | None) -> None:
        killed(WORKS[which], fuse)
        self._look()

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
        for rental in Rental.objects.all():
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
                told_at=clock.to_epoch(workload.observed_at or rental.created_at),
                last_end=ended,
            )
            self.truths[rental.pk].follow(seen, clock.epoch(), self._gaps(rental.pk))
        balance = self._balance()
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
        # As long as the longest deadline of a phase: a download may stand still for half an hour.
        for _ in range(400):
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
        for rental in Rental.objects.all():
            bill = billing.bill_of(subject_id=rental.pk)
            total += bill.total
            for line in billing.derive_charges(subject_id=rental.pk):
                assert line.agrees, line
            if not self.stepped:
                self._judge_one(rental, bill)
        balance = self._balance()
        assert balance.total == self.paid_in - total + self._given_back()
        self._judge_holds()

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
