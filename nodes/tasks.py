"""The clock's way into the services."""

from __future__ import annotations

from celery import shared_task

from nodes import proxies, services


@shared_task
def sweep_liveness() -> None:
    services.sweep_liveness()


@shared_task
def reconcile_ports() -> None:
    proxies.reconcile()
