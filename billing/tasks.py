"""The clock's way into the money."""

from __future__ import annotations

from celery import shared_task

from accounts.actors import Actor
from billing import reconcile, services


@shared_task
def sweep_exhausted_wallets() -> None:
    services.sweep_exhausted()


@shared_task
def roll_up_meters() -> None:
    services.roll_up()


@shared_task
def top_up_wallets() -> None:
    reconcile.top_up()


@shared_task
def warn_low_wallets() -> None:
    services.warn_low_wallets()


@shared_task
def mature_earnings() -> None:
    services.mature_earnings()


@shared_task
def send_payouts() -> None:
    reconcile.send_payouts()


@shared_task
def send_returns() -> None:
    reconcile.send_returns()


@shared_task
def follow_deposits() -> None:
    reconcile.follow_deposits()


@shared_task
def collect_debts() -> None:
    services.collect_debts()


@shared_task
def note_fees() -> None:
    services.note_fees(actor=Actor.system())


@shared_task
def close_months() -> None:
    services.close_months()
    services.issue_invoices()
