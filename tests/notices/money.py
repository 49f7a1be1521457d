"""What makes the notices of money."""

from __future__ import annotations

from billing import services as billing
from billing import tasks
from billing.models import Deposit
from billing.providers.base import Kind
from core.ids import new_id
from hostagent.protocol import WorkloadState
from tests.notices.stage import Stage


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


CAUSES = {
    "deposit_received": deposit_received,
    "deposit_failed": deposit_failed,
    "dispute_opened": disputed,
    "dispute_won": dispute_won,
    "dispute_lost": dispute_lost,
    "invoice_issued": invoice_issued,
    "wallet_frozen": disputed,
    "wallet_thawed": dispute_won,
    "balance_used_up": balance_used_up,
}
