"""What makes the notices of earnings."""

from __future__ import annotations

from billing import services as billing
from billing import tasks
from billing.models import Payout
from billing.providers.base import Kind, ProviderEvent
from billing.tests.hosts import USD, use
from core.ids import new_id
from tests import cast
from tests.notices.money import refunded
from tests.notices.stage import Stage

DAY = 86_400


def requested(stage: Stage) -> Payout:
    use(cast.person("carol"), stage.bob, usd=100)
    stage.traveller.shift(2 * DAY)
    tasks.mature_earnings()
    return billing.request_payout(
        actor=stage.bob,
        amount=30 * USD,
        destination="NO93 8601 1117 947",
        idempotency_key=str(new_id()),
    )


def approved(stage: Stage) -> Payout:
    found = requested(stage)
    return billing.approve_payout(actor=cast.person("dora", is_staff=True), payout_id=found.pk)


def paid(stage: Stage) -> None:
    approved(stage)
    tasks.send_payouts()


def refused(stage: Stage) -> None:
    dora = cast.person("dora", is_staff=True)
    billing.refuse_payout(actor=dora, payout_id=requested(stage).pk, reason="not your account")


def failed(stage: Stage) -> None:
    found = approved(stage)
    billing.begin_sending(payout_id=found.pk)
    billing.note_not_sent(payout_id=found.pk, why="No such account.")


def reversed_(stage: Stage) -> None:
    found = approved(stage)
    tasks.send_payouts()
    taken = ProviderEvent(
        id="r", kind=Kind.REVERSED, payout_id=found.pk, amount=found.amount, currency="USD"
    )
    billing.apply_event(provider="fake", event=taken)


CAUSES = {
    "payout_requested": requested,
    "payout_approved": approved,
    "payout_paid": paid,
    "payout_refused": refused,
    "payout_failed": failed,
    "payout_reversed": reversed_,
    "earnings_taken": refunded,
}
