"""The clock's way into the reconciler."""

from __future__ import annotations

from celery import shared_task

from rentals import reconcile


@shared_task
def reconcile_rentals() -> None:
    reconcile.sweep()


@shared_task
def probe_rentals() -> None:
    reconcile.probe_running()
