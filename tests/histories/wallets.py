"""Random lives of a wallet, beside a model that keeps every billed second as an interval.

One history is one wallet with some meters: deposits, holds, meters that open and close now or at some
earlier instant, roll-ups, sweeps, transactions that die before their commit, requests that come twice,
and a clock that jumps up to six hours either way. After every step the services must say what the
model says, and at the end the whole ledger must add up.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import pytest
import time_machine
from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from accounts.actors import Actor
from billing import queries, services
from billing.models import Account, Bearer, Meter, Payout, Refund, Transfer
from billing.services.wallets import wallet_of
from core import clock
from core.errors import DomainError, FundsInsufficient
from tests.histories.books import Model, ModelMeter

SYSTEM = Actor.system()
SIX_HOURS = 6 * 3600
CURRENCY_UNIT = 10**9


class Died(Exception):
    """The process dies here; its transaction is rolled back."""


class History:
    """One random life.

    Args:
        seed: decides everything.
        steps: how many things happen.
    """

    def __init__(self, seed: int, steps: int = 14) -> None:
        self.random = random.Random(seed)
        self.steps = steps
        self.alice, self.bob = uuid.UUID(int=self.bits()), uuid.UUID(int=self.bits())
        self.host = Actor("user", str(self.bob), "bob", frozenset({"payout:request"}))
        self.model = Model()
        self.deposits: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.subjects: list[uuid.UUID] = []
        # What is on its way to the host or has arrived.
        self.payouts: dict[uuid.UUID, int] = {}

    def bits(self) -> int:
        return self.random.getrandbits(128)

    def run(self) -> None:
        """Live it; AssertionError tells where it went wrong."""
        start = 1_800_000_000 + self.random.randrange(10**6)
        with (
            time_machine.travel(start, tick=False) as clock_,
            pytest.MonkeyPatch.context() as patch,
        ):
            self.clock = clock_
            # Small, so that random amounts reach it.
            patch.setattr(settings.DC, "payout_minimum", 1)
            self.model.asof = self.wallet().asof
            verbs: list[Callable[[], None]] = [
                self.deposit, self.deposit_again, self.hold, self.release, self.open_meter,
                self.open_meter, self.close_now, self.close_earlier, self.roll_up, self.use_up,
                self.wait, self.wait, self.step_clock, self.mature, self.ask_for_payout,
                self.decide_payout, self.take_back, self.refund, self.credit,
            ]  # fmt: skip
            self.deposit()
            for _ in range(self.steps):
                verb = self.random.choice(verbs)
                self.told.append(f"{clock.epoch()} {verb.__name__}")
                if self.random.random() < 0.15:
                    self.die_in(verb)
                verb()
                self.compare()
        assert services.verify_ledger() == [], self.told

    def wallet(self) -> Account:
        with transaction.atomic():
            return wallet_of(self.alice)

    def compare(self) -> None:
        """The services and the model must agree on everything that can be seen."""
        now = clock.epoch()
        balance = services.balance_of(owner_id=self.alice)
        point = self.model.limit(now)
        burn = sum(meter.rate for meter in self.model.open)
        expected = self.model.balance - burn * (point - self.model.asof)
        assert balance.total == expected, self.told
        assert balance.locked == sum(self.model.holds.values()), self.told
        assert balance.total >= balance.locked >= 0, self.told
        assert balance.burn == burn, self.told
        self.compare_host()

    def compare_host(self) -> None:
        """What the host earned is young, free, on its way, out, or was owed: to the last nano-unit."""
        host = services.host_balance_of(owner_id=self.bob)
        earned = sum(m.payee_rate * (m.settled - m.started) for m in self.model.meters.values())
        out = sum(self.payouts.values())
        given = self.given(from_host=True)
        assert host.pending + host.available + out - host.owed == earned - given, self.told
        assert host.pending >= 0, self.told
        assert host.available >= 0, self.told
        assert host.payable <= host.available, self.told

    def die_in(self, verb: Callable[[], None]) -> None:
        """Do it in a transaction that never commits: nothing of it may remain."""
        before = self.seen()
        model, deposits, told = self.model, list(self.deposits), list(self.told)
        subjects, payouts = list(self.subjects), dict(self.payouts)
        self.model = model.copy()
        where = clock.epoch()
        try:
            with transaction.atomic():
                verb()
                raise Died
        except Died:
            pass
        self.model, self.deposits, self.told = model, deposits, [*told, f"died in {verb.__name__}"]
        self.subjects, self.payouts = subjects, payouts
        self.clock.move_to(where)
        assert self.seen() == before, self.told

    def seen(self) -> tuple[object, ...]:
        accounts = Account.objects.filter(owner_id__in=[self.alice, self.bob]).order_by("pk")
        meters = Meter.objects.filter(wallet__owner_id=self.alice).order_by("pk")
        return (
            *accounts.values_list("balance", "held", "burn", "asof", "runs_out"),
            *meters.values_list("started", "settled", "ended"),
        )

    # --- What happens

    def deposit(self) -> None:
        amount = self.random.choice([1, 10**6, 10**9, 37 * 10**9])
        idem = f"d-{self.bits()}"
        services.deposit(actor=SYSTEM, owner_id=self.alice, amount=amount, idem=idem)
        self.model.paid_in += amount
        self.deposits.append((idem, amount))

    def deposit_again(self) -> None:
        idem, amount = self.random.choice(self.deposits)
        services.deposit(actor=SYSTEM, owner_id=self.alice, amount=amount, idem=idem)

    def hold(self) -> None:
        amount = self.random.choice([0, 5, 10**6, 10**9])
        free = self.model.free_at(clock.epoch())
        try:
            with transaction.atomic():
                hold = services.place_hold(
                    actor=SYSTEM, owner_id=self.alice, amount=amount, reason="test",
                    subject_id=uuid.UUID(int=self.bits()),
                )  # fmt: skip
        except FundsInsufficient:
            # A refusal changes nothing, not even how far the wallet is posted.
            assert amount > free, self.told
            return
        assert amount <= free, self.told
        self.model.holds[hold.pk] = amount

    def release(self) -> None:
        for hold_id in list(self.model.holds)[:1]:
            for _ in range(2):
                services.release_hold(actor=SYSTEM, hold_id=hold_id)
            del self.model.holds[hold_id]

    def open_meter(self) -> None:
        now, rate = clock.epoch(), self.random.choice([1, 999, 14_279, 10**6 + 7])
        at = self.random.choice([None, now - 5, now - 4000])
        fee_bps = self.random.choice([0, 1000, 3333])
        try:
            meter = services.open_meter(
                actor=SYSTEM, kind="compute", owner_id=self.alice, payee_id=self.bob, rate=rate,
                fee_bps=fee_bps, subject_id=uuid.UUID(int=self.bits()),
                at=at,
            )  # fmt: skip
        except DomainError as error:
            raise AssertionError(self.told) from error
        at = now if at is None else at
        self.model.settle(at)
        start = asof = self.model.asof
        if at < asof <= now:
            # Others of the wallet are posted beyond: it catches up as far as the money reaches.
            start = max(at, asof - self.model.free // rate)
        self.model.meters[meter.pk] = ModelMeter(rate, meter.payee_rate, start, asof)
        assert meter.payee_rate == rate - rate * fee_bps // 10_000, self.told
        self.subjects.append(meter.subject_id)

    def close_now(self) -> None:
        self._close(None)

    def close_earlier(self) -> None:
        self._close(clock.epoch() - self.random.choice([0, 1, 40, 5000, SIX_HOURS]))

    def _close(self, at: int | None) -> None:
        still = [key for key, meter in self.model.meters.items() if not meter.ended]
        if not still:
            return
        self._close_one(self.random.choice(still), at)

    def _close_one(self, meter_id: uuid.UUID, at: int | None) -> None:
        for _ in range(2):
            services.close_meter(actor=SYSTEM, meter_id=meter_id, at=at)
        meter = self.model.meters[meter_id]
        now = clock.epoch()
        self.model.settle(now if at is None else min(at, max(now, self.model.asof)))
        if at is not None:
            meter.settled = max(meter.started, min(at, meter.settled))
        meter.ended = True
        self.follow_wallet()

    def roll_up(self) -> None:
        services.roll_up()
        if self.model.open:
            self.model.settle(clock.epoch() - 60)

    def use_up(self) -> None:
        """What the sweep leads to: everything that runs ends at the second the money ended."""
        at = None
        with transaction.atomic():
            at = services.used_up_at(owner_id=self.alice)
        burn = sum(meter.rate for meter in self.model.open)
        ended = self.model.asof + self.model.free // burn if burn else None
        assert at == (ended if ended is not None and ended <= clock.epoch() else None), self.told
        if at is None:
            return
        for meter_id in [key for key, meter in self.model.meters.items() if not meter.ended]:
            self._close_one(meter_id, at)

    def mature(self) -> None:
        for _ in range(2):
            services.mature_earnings()

    def ask_for_payout(self) -> None:
        host = services.host_balance_of(owner_id=self.bob)
        amount = self.random.choice([1, 2, 50]) * CURRENCY_UNIT
        key = f"p-{self.bits()}"
        try:
            with transaction.atomic():
                made = self.request(amount, key)
        except DomainError:
            assert host.frozen or amount > host.payable, self.told
            return
        assert amount <= host.payable, self.told
        assert self.request(amount, key).pk == made.pk, self.told
        self.payouts[made.pk] = amount

    def request(self, amount: int, key: str) -> Payout:
        return services.request_payout(
            actor=self.host, amount=amount, destination="NO93 8601 1117 947", idempotency_key=key
        )

    def decide_payout(self) -> None:
        """Staff approve or refuse, the provider pays or does not; each may come twice and too late."""
        for payout in Payout.objects.filter(pk__in=list(self.payouts)).order_by("pk")[:1]:
            decision = self.random.choice(["approve", "refuse", "send", "fail"])
            for _ in range(2):
                try:
                    with transaction.atomic():
                        self.decide(decision, payout.pk)
                except DomainError:
                    continue
            payout.refresh_from_db()
            if payout.state in {"refused", "failed"}:
                self.payouts.pop(payout.pk, None)

    def decide(self, decision: str, payout_id: uuid.UUID) -> None:
        if decision == "approve":
            services.approve_payout(actor=SYSTEM, payout_id=payout_id)
        elif decision == "refuse":
            services.refuse_payout(actor=SYSTEM, payout_id=payout_id, reason="test")
        else:
            services.begin_sending(payout_id=payout_id)
            if decision == "send":
                services.note_sent(payout_id=payout_id, ref="r")
            else:
                services.note_not_sent(payout_id=payout_id, why="w")

    def take_back(self) -> None:
        """An outage that is learned of late: what ended meters billed since comes back, paid out or not."""
        if not self.subjects:
            return
        subject, since = (
            self.random.choice(self.subjects),
            clock.epoch() - self.random.choice([1, 3600, 10 * 86_400]),
        )
        for _ in range(2):
            services.take_back(actor=SYSTEM, subject_id=subject, since=since)
        for key, meter in self.model.meters.items():
            mine = Meter.objects.values_list("subject_id", flat=True).get(pk=key) == subject
            if mine and meter.ended and meter.started < meter.settled:
                meter.settled = max(meter.started, min(meter.settled, since))
        self.follow_wallet()

    def refund(self) -> None:
        """Staff give back some of what one subject paid, never more than stands of it; asked twice, once."""
        if not self.subjects:
            return
        subject, key = self.random.choice(self.subjects), f"r-{self.bits()}"
        left = sum(row.amount for row in queries.standing(subject_id=subject))
        amount = self.random.choice([1, 10**6, max(1, left // 3), max(1, left), left + 1])
        bearer = self.random.choice(list(Bearer))
        for _ in range(2):
            try:
                with transaction.atomic():
                    services.refund_charge(
                        actor=SYSTEM, subject_id=subject, amount=amount, reason="test",
                        idempotency_key=key, borne_by=bearer,
                    )  # fmt: skip
            except DomainError:
                assert amount > left, self.told
            else:
                assert amount <= left, self.told
        self.follow_wallet()

    def credit(self) -> None:
        """A fault is credited once for each incident, however often it is found."""
        if not self.subjects:
            return
        subject, now = self.random.choice(self.subjects), clock.epoch()
        incident = f"test:{self.random.randrange(3)}"
        credits = Refund.objects.filter(kind="credit", subject_id=subject)
        before, again = credits.count(), credits.filter(incident=incident).exists()
        for _ in range(2):
            services.credit_fault(
                actor=SYSTEM, subject_id=subject, incident=incident, since=now - 3600, until=now,
                kinds=["compute"], reason="test", evidence={},
            )  # fmt: skip
        assert credits.count() <= before + (not again)
        if not again:
            # Only what is posted can be given back.
            self.model.settle(now)
        self.follow_wallet()

    def follow_wallet(self) -> None:
        """What was given back lets the wallet last longer; the model learns of it as of money paid in."""
        self.model.given = self.given()

    def given(self, *, from_host: bool = False) -> int:
        """Return what refunds and credits gave, less what was undone when their seconds were reversed."""
        mine = Transfer.objects.filter(meter=None, reverses__isnull=False)
        if from_host:
            mine = mine.filter(Q(src__owner_id=self.bob) | Q(dst__owner_id=self.bob))
        sums = mine.aggregate(
            out=Sum("amount", filter=~Q(kind="undone")), back=Sum("amount", filter=Q(kind="undone"))
        )
        return int(sums["out"] or 0) - int(sums["back"] or 0)

    def wait(self) -> None:
        self.clock.shift(self.random.choice([0, 1, 59, 61, 3600, SIX_HOURS, 40 * 86_400]))

    def step_clock(self) -> None:
        self.clock.shift(self.random.randint(-SIX_HOURS, SIX_HOURS))
