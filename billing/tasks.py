"""The clock's way into the money."""

from __future__ import annotations

from celery import shared_task

from billing import reconcile, services


@shared_task
def sweep_exhausted_wallets() -> None:
    services.sweep_exhausted()


@shared_task
def roll_up_meters() -> None:
    services.roll_up()


@shared_task
def open_stuck_deposits() -> None:
    reconcile.open_stuck()
