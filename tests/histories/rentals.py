"""Random lives of rentals: what people, agents, clocks and deaths do to them. What must be so is in `life`."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from billing import services as billing
from core import clock, money
from rentals import services as rentals
from rentals.machine import State, actions
from tests.histories.deaths import killed
from tests.histories.life import WORKS, fuses, some
from tests.histories.money import MoneyRules

SIX_HOURS = 6 * 3600
WAITS = [1, 7, 29, 59, 61, 200, 3600, SIX_HOURS, 60 * 3600]


class RentalLives(MoneyRules):
    """Everything that may happen in a life."""

    # --- The renter

    @rule(where=some, gpus=st.integers(1, 2), fuse=fuses)
    def rent_one(self, where: int, gpus: int, fuse: int | None) -> None:
        self.rent(where, gpus, fuse)

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

    @rule(
        which=some,
        minutes=st.sampled_from([None, 1, 70]),
        cents=st.sampled_from([None, 1, 30]),
        idle=st.sampled_from([None, None, 10, 30]),
    )
    def limit(self, which: int, minutes: int | None, cents: int | None, idle: int | None) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        spent = billing.bill_of(subject_id=rental.pk).total
        ends_at = None if minutes is None else clock.now() + dt.timedelta(minutes=minutes)
        cap = None if cents is None else spent + cents * money.NANO // 100

        def work() -> None:
            rentals.set_limits(
                actor=self.alice,
                rental_id=rental.pk,
                ends_at=ends_at,
                spend_cap=cap,
                idle_minutes=idle,
            )

        self._refusable(work, None)

    @rule(which=some, seconds=st.sampled_from([1, 600, 7200]), fuse=fuses)
    def extend(self, which: int, seconds: int, fuse: int | None) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        self._refusable(
            lambda: rentals.extend_rental(actor=self.alice, rental_id=rental.pk, seconds=seconds),
            fuse,
        )

    @rule(amount=st.sampled_from([1, money.NANO // 10, 20 * money.NANO]), again=st.booleans())
    def top_up(self, amount: int, again: bool) -> None:
        self._deposit(amount, times=1 + again)

    # --- The machines

    @rule(which=some, steps=st.integers(1, 3), then=st.booleans())
    def agent(self, which: int, steps: int, then: bool) -> None:
        machine = self.machines[which % 2]
        for _ in range(steps):
            if machine.silent_since is None:
                machine.step()
                if then:
                    self._work(None)

    @rule(which=some, how=st.sampled_from(["container_exited", "host_removed", "absent"]))
    def container_dies(self, which: int, how: str) -> None:
        """It ends by itself or somebody removes it; an agent that does not know what was there says absent."""
        rental = self._rental(which)
        if rental is None:
            return
        machine = self.machine_of[rental.pk]
        box = machine.boxes.get(str(rental.workload_id))
        if box is not None and box.state in {"starting", "running", "stopped"}:
            # What stands still does not fail.
            gone = how == "absent" or box.state == "stopped"
            box.state, box.code = ("absent", "") if gone else ("failed", how)
            machine.tell()

    @rule(which=some, idle=st.booleans())
    def container_rests(self, which: int, idle: bool) -> None:
        rental = self._rental(which)
        if rental is None:
            return
        machine = self.machine_of[rental.pk]
        if box := machine.boxes.get(str(rental.workload_id)):
            box.idle = idle
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
