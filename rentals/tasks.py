"""The clock's way into the reconciler."""

from __future__ import annotations

from celery import shared_task

from accounts.actors import Actor
from core import bus
from rentals import reconcile, services


@shared_task
def reconcile_rentals() -> None:
    with bus.alone("rentals.reconcile", seconds=30) as mine:
        if mine:
            reconcile.turn_prices()
            mine.keep()
            reconcile.enforce_limits()
            reconcile.sweep(mine.keep)


@shared_task
def give_up_addresses() -> None:
    services.give_up_addresses(actor=Actor.system())


@shared_task
def forget_failed_starts() -> None:
    services.forget_failed_starts()


@shared_task
def forget_quotes() -> None:
    services.forget_quotes()


@shared_task
def forget_preflights() -> None:
    services.forget_preflights()


@shared_task
def review_prices() -> None:
    with bus.alone("rentals.prices", seconds=600) as mine:
        if mine:
            reconcile.review_prices()


@shared_task
def settle_tunnel_outages() -> None:
    with bus.alone("rentals.tunnels", seconds=60) as mine:
        if mine:
            reconcile.settle_tunnel_outages()


@shared_task
def probe_rentals() -> None:
    with bus.alone("rentals.probe", seconds=60) as mine:
        if mine:
            reconcile.probe_running(mine.keep)
