"""What may happen to the money around a life: refunds, disputes, payouts, top-ups, other prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from django.conf import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from billing import reconcile as payments
from billing import services as billing
from billing.models import Bearer, Payout
from billing.providers import SavedMethod
from billing.providers.base import Kind, ProviderEvent
from core import money
from core.ids import new_id
from rentals import services as rentals
from rentals.services.prices import pending_price
from tests.histories.deaths import killed
from tests.histories.life import SYSTEM, Life, fuses, some

CENT = money.NANO // 100


class MoneyRules(Life):
    """What payers, their banks, hosts and staff do."""

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

    def _pay_again(self, which: int) -> None:
        before = self._everything()
        assert self._told(self.events[which % len(self.events)]) == "duplicate"
        assert self._everything() == before

    def _told(self, event: ProviderEvent) -> str:
        return billing.apply_event(provider=settings.DC.payments, event=event)

    @rule(
        which=some,
        kind=st.sampled_from(
            [
                Kind.REFUNDED,
                Kind.BOUNCED,
                Kind.DISPUTED,
                Kind.DISPUTED,
                Kind.DISPUTE_WON,
                Kind.DISPUTE_LOST,
            ]
        ),
        fuse=fuses,
    )
    def bank_calls(self, which: int, kind: Kind, fuse: int | None) -> None:
        """The bank takes some or all of a payment back, or gives it back again, in any order."""
        paid = [event for event in self.events if event.kind is Kind.PAID]
        if not paid:
            return
        one = paid[which % len(paid)]
        name = f"re-{which % 4}" if kind in {Kind.REFUNDED, Kind.BOUNCED} else "dp"
        event = replace(
            one, id=f"bank-{new_id()}", kind=kind, ref=f"{name}-{one.payment}",
            amount=one.amount // 2 if which % 3 else one.amount,
        )  # fmt: skip
        if self._refusable(lambda: self._told(event), fuse):
            self.events.append(event)

    @rule(threshold=st.sampled_from([0, 2, 50]), declined=st.booleans(), fuse=fuses)
    def fill_itself(self, threshold: int, declined: bool, fuse: int | None) -> None:
        """The wallet is told to fill itself, by a card that is declined or not, and the clock does it."""
        billing.set_auto_top_up(
            actor=self.alice,
            saved=SavedMethod("customer", "declined" if declined else "card"),
            threshold=threshold * money.NANO,
            amount=7 * money.NANO,
            month_max=14 * money.NANO,
        )
        killed(payments.top_up, fuse)
        self._look()

    @rule(which=some, share=st.sampled_from([1, 3, 1000]), bearer=st.sampled_from(list(Bearer)))
    def give_back(self, which: int, share: int, bearer: Bearer) -> None:
        """Staff refund some of a rental; the same request twice refunds once."""
        rental = self._rental(which)
        if rental is None:
            return
        amount = max(1, billing.bill_of(subject_id=rental.pk).total // share)
        key = str(new_id())

        def work() -> None:
            billing.refund_charge(
                actor=SYSTEM, subject_id=rental.pk, amount=amount, reason="test",
                idempotency_key=key, borne_by=bearer,
            )  # fmt: skip

        if self._refusable(work, None):
            self._changes_nothing(work)

    @rule(cents=st.sampled_from([1, 100]), fuse=fuses)
    def pay_out(self, cents: int, fuse: int | None) -> None:
        """What bob earned matures, he asks for some of it, staff approve and the clock sends it."""
        billing.mature_earnings()
        key = str(new_id())

        def work() -> None:
            billing.request_payout(
                actor=self.bob, amount=cents * CENT, destination="NO93 8601 1117 947",
                idempotency_key=key,
            )  # fmt: skip

        if self._refusable(work, fuse):
            self._changes_nothing(work)
        for payout in Payout.objects.filter(state="requested").order_by("created_at", "pk"):
            billing.approve_payout(actor=SYSTEM, payout_id=payout.pk)
        killed(payments.send_payouts, fuse)

    @rule(which=some, percent=st.sampled_from([120, 300]), accept=st.none() | st.booleans())
    def raise_price(self, which: int, percent: int, accept: bool | None) -> None:
        """Bob asks for more inside the lock; alice says yes, no, or nothing."""
        rental = self._rental(which)
        if rental is None:
            return
        hourly = Decimal(rental.compute_rate * 3600 * percent) / (100 * money.NANO)
        work: Callable[[], object] = lambda: rentals.offer_raise(  # noqa: E731
            actor=self.bob,
            rental_id=rental.pk,
            compute_hourly=hourly / max(rental.gpu_count, 1),
            storage_gb_monthly=Decimal("0.2"),
        )
        self._refusable(work, None)
        change = pending_price(rental)
        if change is not None and accept is not None:
            self._refusable(
                lambda: rentals.answer_price(
                    actor=self.alice, rental_id=rental.pk, change_id=change.pk, accept=accept
                ),
                None,
            )
        self._look()

    def _changes_nothing(self, work: Callable[[], object]) -> None:
        before = self._everything()
        work()
        assert self._everything() == before
