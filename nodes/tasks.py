"""The clock's way into the services."""

from __future__ import annotations

from celery import shared_task

from core import bus
from nodes import proxies, services


@shared_task
def sweep_liveness() -> None:
    services.sweep_liveness()


@shared_task
def reconcile_ports() -> None:
    with bus.alone("nodes.ports", seconds=30) as mine:
        if mine:
            proxies.reconcile()


@shared_task
def watch_tunnels() -> None:
    with bus.alone("nodes.tunnels", seconds=10) as mine:
        if mine:
            proxies.watch()


@shared_task
def forget_logs() -> None:
    services.warn_of_logs()
    services.forget_logs()


@shared_task
def rate_machines() -> None:
    services.rate_reliability()


@shared_task
def step_prices() -> None:
    with bus.alone("nodes.smart_prices", seconds=600) as mine:
        if mine:
            services.step_smart_prices()


@shared_task
def note_prices() -> None:
    services.note_prices()
