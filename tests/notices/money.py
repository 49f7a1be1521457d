"""What makes the notices of money."""

from __future__ import annotations

import uuid

from billing import services as billing
from billing import tasks
from billing.models import Deposit
from billing.providers.base import Kind, SavedMethod
from core.ids import new_id
from hostagent.protocol import WorkloadState
from rentals import services
from tests import cast
from tests.notices.stage import USD, Stage


def deposit_received(stage: Stage) -> Deposit:
    deposit = stage.deposit()
    stage.provider_says(deposit, Kind.PAID)
    return deposit


def deposit_failed(stage: Stage) -> None:
    stage.provider_says(stage.deposit(), Kind.FAILED)


def disputed(stage: Stage) -> Deposit:
    deposit = deposit_received(stage)
    stage.provider_says(deposit, Kind.DISPUTED)
    return deposit


def dispute_won(stage: Stage) -> None:
    stage.provider_says(disputed(stage), Kind.DISPUTE_WON)


def dispute_lost(stage: Stage) -> None:
    stage.provider_says(disputed(stage), Kind.DISPUTE_LOST)


def balance_used_up(stage: Stage) -> None:
    stage.running()
    stage.spend_down_to(10)
    stage.pass_time(20)
    stage.says(WorkloadState.STOPPED)


def invoice_issued(stage: Stage) -> None:
    meter = billing.open_meter(
        actor=stage.alice,
        kind="compute",
        owner_id=stage.alice.user_id,
        payee_id=stage.bob.user_id,
        rate=100_000,
        fee_bps=1000,
        subject_id=new_id(),
    )
    stage.traveller.shift(36_000)
    billing.close_meter(actor=stage.alice, meter_id=meter.pk)
    stage.traveller.move_to("2026-12-01T00:10:00Z")
    tasks.close_months()
    tasks.close_months()


def low(stage: Stage) -> None:
    stage.running()
    stage.spend_down_to(3000)
    tasks.warn_low_wallets()
    tasks.warn_low_wallets()


def declined(stage: Stage, *, times: int = 1) -> None:
    billing.place_hold(
        actor=stage.alice,
        owner_id=stage.alice.user_id,
        amount=billing.balance_of(owner_id=stage.alice.user_id).available,
        reason="test",
        subject_id=new_id(),
    )
    billing.set_auto_top_up(
        actor=stage.alice,
        saved=SavedMethod("fake-customer", "declined"),
        threshold=5 * USD,
        amount=20 * USD,
        month_max=60 * USD,
    )
    for _ in range(times):
        tasks.top_up_wallets()
        stage.traveller.shift(86_400)


def given_up(stage: Stage) -> None:
    declined(stage, times=5)


def refunded(stage: Stage) -> None:
    stage.running()
    stage.pass_time(3600)
    services.end_rental(actor=stage.alice, rental_id=stage.rental.pk)
    stage.says(WorkloadState.ABSENT)
    billing.refund_charge(
        actor=cast.person("dora", is_staff=True),
        subject_id=stage.rental.pk,
        amount=1_000_000,
        reason="The disk was slow",
        idempotency_key=str(new_id()),
    )


def credited(stage: Stage) -> None:
    stage.running()
    stage.pass_time(3600)
    stage.says(WorkloadState.ABSENT)


def adjusted(stage: Stage) -> None:
    billing.adjust_wallet(
        actor=cast.person("dora", is_staff=True),
        owner_id=stage.alice.user_id,
        amount=USD,
        reason="Sorry for the long wait",
        idempotency_key=str(new_id()),
    )


def returned(stage: Stage) -> uuid.UUID:
    made = billing.return_deposit(
        actor=cast.person("dora", is_staff=True),
        deposit_id=deposit_received(stage).pk,
        amount=None,
        reason="as you asked",
        idempotency_key=str(new_id()),
    )
    return made.pk


def not_returned(stage: Stage) -> None:
    billing.note_not_returned(return_id=returned(stage), why="The card is closed.")


CAUSES = {
    "deposit_received": deposit_received,
    "deposit_failed": deposit_failed,
    "deposit_returned": returned,
    "deposit_not_returned": not_returned,
    "dispute_opened": disputed,
    "dispute_won": dispute_won,
    "dispute_lost": dispute_lost,
    "invoice_issued": invoice_issued,
    "balance_low": low,
    "top_up_failed": declined,
    "top_up_given_up": given_up,
    "refund_received": refunded,
    "credit_received": credited,
    "adjustment_received": adjusted,
    "wallet_frozen": disputed,
    "wallet_thawed": dispute_won,
    "balance_used_up": balance_used_up,
}
