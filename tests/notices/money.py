"""What makes the notices of money."""

from __future__ import annotations

from billing.models import Deposit
from billing.providers.base import Kind
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


CAUSES = {
    "deposit_received": deposit_received,
    "deposit_failed": deposit_failed,
    "dispute_opened": disputed,
    "dispute_won": dispute_won,
    "dispute_lost": dispute_lost,
    "wallet_frozen": disputed,
    "wallet_thawed": dispute_won,
    "balance_used_up": balance_used_up,
}
