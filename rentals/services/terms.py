"""What was agreed with a rental: its price, and until when it is locked."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.conf import settings

from core import clock, money
from core.errors import Invalid
from nodes.models import Node
from rentals.machine import PriceState
from rentals.models import PriceChange, Rental

MAX_AHEAD = dt.timedelta(days=365)


@dataclass(frozen=True)
class Rates:
    """What a rental costs, in nano-units per second: its work while it runs, its disk all the time."""

    compute: int
    storage: int

    def exceed(self, other: Rates) -> bool:
        """Whether any part is higher: then this price needs consent."""
        return self.compute > other.compute or self.storage > other.storage

    def lower_of(self, other: Rates) -> Rates:
        """Return the lower of each part."""
        return Rates(min(self.compute, other.compute), min(self.storage, other.storage))


def locked_until(since: dt.datetime, ends_at: dt.datetime | None = None) -> dt.datetime:
    """Return until when a price that holds from `since` is locked, in whole seconds.

    The usual term, or longer: to the end date that the renter has named, within the longest term.
    """
    env = settings.DC
    usual = since + dt.timedelta(days=env.price_lock_days)
    longest = since + dt.timedelta(days=max(env.price_lock_max_days, env.price_lock_days))
    until = usual if ends_at is None else max(usual, min(ends_at, longest))
    return until.replace(microsecond=0)


def require_end(ends_at: dt.datetime | None) -> None:
    """Raise Invalid `ends_at_range` unless an end lies in the future and at most a year away."""
    now = clock.now()
    if ends_at is not None and not now < ends_at <= now + MAX_AHEAD:
        raise Invalid("ends_at_range", "The end lies in the future and at most a year away.")


def notice() -> dt.timedelta:
    """Return how long before it applies a higher price is told."""
    return dt.timedelta(days=settings.DC.price_notice_days)


def rates_of(rental: Rental) -> Rates:
    """Return what a rental costs now."""
    return Rates(rental.compute_rate, rental.storage_rate)


def rates_wanted(change: PriceChange) -> Rates:
    """Return what it would cost after a change."""
    return Rates(change.compute_rate, change.storage_rate)


def rates_asked(rental: Rental) -> Rates:
    """Return what the machine asks now, as published, for what this rental has."""
    node = Node.objects.get(pk=rental.node_id)
    rate = node.gpu_rate if rental.gpu_count else node.cpu_node_rate
    compute = money.compute_rate(rate, rental.gpu_count, node.minimum_rate)
    return Rates(compute, node.storage_gb_rate * rental.disk_gb)


def prices_from(rental: Rental, at: int) -> list[tuple[int, Rates]]:
    """Return what a rental has cost since `at` (epoch seconds): each price with the second it began, or `at`."""
    if at >= clock.to_epoch(rental.price_since):
        return [(at, rates_of(rental))]
    applied = PriceChange.objects.filter(rental=rental, state=PriceState.APPLIED.value)
    changes = list(applied.filter(starts_at__gt=clock.from_epoch(at)).order_by("starts_at"))
    prices = [(clock.to_epoch(each.starts_at), rates_wanted(each)) for each in changes]
    if not changes:
        return [(at, rates_of(rental))]
    first = changes[0]
    return [(at, Rates(first.old_compute_rate, first.old_storage_rate)), *prices]


def unanswered(rental: Rental) -> PriceChange | None:
    """Return the price of the next term that has not been accepted, if there is one."""
    asked = PriceChange.objects.filter(rental=rental, at_term=True, closed_at=None)
    return asked.exclude(state=PriceState.ACCEPTED.value).first()
