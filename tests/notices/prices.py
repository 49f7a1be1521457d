"""What makes the notices of prices."""

from __future__ import annotations

from decimal import Decimal

from core import clock
from nodes import services as nodes
from rentals import reconcile, services
from rentals.models import PriceChange
from tests.notices.stage import Stage

DAY = 86_400


def _ask(stage: Stage, hourly: str) -> None:
    nodes.set_prices(
        actor=stage.bob,
        node_id=stage.rental.node_id,
        gpu_hourly=Decimal(0),
        cpu_node_hourly=Decimal(hourly),
        storage_gb_monthly=Decimal("0.10"),
    )


def _go_to_end_of_lock(stage: Stage, *, before: int) -> None:
    stage.rental.refresh_from_db()
    stage.traveller.move_to(clock.from_epoch(clock.to_epoch(stage.rental.price_until) - before))
    stage.agent.beat()
    reconcile.review_prices()
    reconcile.turn_prices()
    stage.drain()


def next_term(stage: Stage) -> None:
    stage.running()
    _ask(stage, "0.10")
    _go_to_end_of_lock(stage, before=3 * DAY)


def cheaper(stage: Stage) -> None:
    stage.running()
    _ask(stage, "0.02")
    _go_to_end_of_lock(stage, before=0)


def asked_inside(stage: Stage) -> PriceChange:
    stage.running()
    return services.offer_raise(
        actor=stage.bob,
        rental_id=stage.rental.pk,
        compute_hourly=Decimal("0.10"),
        storage_gb_monthly=Decimal("0.10"),
    )


def raised(stage: Stage) -> None:
    asked_inside(stage)


def answered(stage: Stage, *, accept: bool) -> None:
    change = asked_inside(stage)
    services.answer_price(
        actor=stage.alice, rental_id=stage.rental.pk, change_id=change.pk, accept=accept
    )


CAUSES = {
    "price_next_term": next_term,
    "price_raise": raised,
    "price_changed": cheaper,
    "raise_accepted": lambda stage: answered(stage, accept=True),
    "raise_refused": lambda stage: answered(stage, accept=False),
}
