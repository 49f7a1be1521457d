"""Smart pricing: a host's wishes, what the formula would do now, and the clock that does it.

It publishes prices and nothing else: what runs keeps the price that its renter agreed to.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, money
from core.errors import Invalid, NotFound
from nodes.machine import Hidden
from nodes.models import Gpu, Node, Offer, SmartPrice
from nodes.repricing import (
    TARGET_RANGE_BP,
    WINDOW_SECONDS,
    Course,
    Next,
    Seen,
    Why,
    Wishes,
    clamp,
    next_price,
)
from nodes.services.listing import own_node, refresh_offer
from nodes.services.pricing import MAX_HOURLY, rate_column

# Card-seconds that were held, and seconds in which the machine was heard, of the window that ends now.
RENTED = """
    SELECT coalesce(sum(extract(epoch FROM least(held.until, %(now)s) - greatest(held.since, %(start)s))), 0)::bigint
    FROM (SELECT a.opened_at AS since, coalesce(g.released_at, a.released_at, %(now)s) AS until
          FROM nodes_allocation a LEFT JOIN nodes_gpuallocation g ON g.allocation_id = a.id
          WHERE a.node_id = %(node)s AND (a.released_at IS NULL OR a.released_at > %(start)s)) held
    WHERE held.until > %(start)s AND held.since < %(now)s
"""
HEARD = """
    SELECT coalesce(sum(extract(epoch FROM least(coalesce(closed_at, last_beat), last_beat, %(now)s)
                                           - greatest(opened_at, %(start)s))), 0)::bigint
    FROM nodes_agentsession WHERE node_id = %(node)s AND last_beat > %(start)s AND opened_at < %(now)s
                              AND (closed_at IS NULL OR closed_at > %(start)s)
"""


@dataclass(frozen=True)
class Preview:
    """What smart pricing would do with a machine now, and everything it looks at."""

    wishes: Wishes
    course: Course
    seen: Seen
    next: Next


@transaction.atomic
def set_smart_price(
    *,
    actor: Actor,
    node_id: uuid.UUID,
    on: bool,
    floor_hourly: Decimal,
    ceiling_hourly: Decimal,
    target_percent: int,
) -> SmartPrice:
    """Write down a host's wishes and switch smart pricing on or off.

    Switched on, the price moves within the bounds (currency units an hour, of a card or a whole machine) at
    once. Raises NotFound `node_unknown`; Forbidden `host_only`; Invalid `smart_price_range`, `smart_target_range`.
    """
    actor.require("node:manage")
    wishes = wishes_from(floor_hourly, ceiling_hourly, target_percent)
    node = own_node(actor, node_id)
    column = rate_column(node)
    smart, _ = SmartPrice.objects.update_or_create(
        node=node,
        defaults={
            "on": on,
            "steers": column,
            "floor_rate": wishes.floor,
            "ceiling_rate": wishes.ceiling,
            "target_bp": wishes.target_bp,
        },
    )
    before = getattr(node, column)
    after = clamp(before, wishes) if on else before
    if after != before:
        _ask(node, column, after)
    told = {"on": on, "floor_rate": wishes.floor, "ceiling_rate": wishes.ceiling}
    audit.record(
        actor=actor,
        verb="node.smart_price_set",
        subject_type="node",
        subject_id=node.pk,
        data={**told, "target_bp": wishes.target_bp, "rate_before": before, "rate": after},
    )
    return smart


def preview_smart_price(
    *, actor: Actor, node_id: uuid.UUID, wishes: Wishes | None = None
) -> Preview | None:
    """Return what would happen now, with these wishes or those that are written down (None: there are none).

    Nothing is changed. Raises NotFound `node_unknown`.
    """
    actor.require("node:manage")
    node = Node.objects.visible_to(actor).filter(pk=node_id).first()
    if node is None:
        raise NotFound("node_unknown", "You have no such machine.")
    smart = SmartPrice.objects.filter(node=node).first()
    if wishes is None and smart is None:
        return None
    return _preview(node, smart, wishes)


def wishes_from(floor_hourly: Decimal, ceiling_hourly: Decimal, target_percent: int) -> Wishes:
    """Return wishes as the formula reads them; raises Invalid `smart_price_range`, `smart_target_range`."""
    possible = all(price.is_finite() for price in (floor_hourly, ceiling_hourly))
    if not (possible and 0 < floor_hourly <= ceiling_hourly <= MAX_HOURLY):
        raise Invalid(
            "smart_price_range",
            f"The floor is more than 0, the ceiling no less than the floor and at most {MAX_HOURLY}.",
        )
    low, high = (bound // 100 for bound in TARGET_RANGE_BP)
    if not low <= target_percent <= high:
        raise Invalid("smart_target_range", f"A target lies between {low} and {high} percent.")
    # What rounds to nothing cannot be asked for.
    floor = max(1, money.rate_from_hourly(floor_hourly))
    ceiling = max(floor, money.rate_from_hourly(ceiling_hourly))
    return Wishes(floor, ceiling, 100 * target_percent)


def step_smart_prices() -> int:
    """Let every machine whose smart pricing is on ask what the formula says; return how many prices changed.

    One transaction a machine: killed between two of them nothing is half done, and a second run finds it done.
    """
    ids = SmartPrice.objects.filter(on=True).order_by("pk").values_list("pk", flat=True)
    return sum(_step(pk) for pk in list(ids))


@transaction.atomic
def _step(node_id: uuid.UUID) -> bool:
    node = Node.objects.lock().get(pk=node_id)
    smart = SmartPrice.objects.filter(node=node, on=True).first()
    if smart is None:
        return False
    seen = _preview(node, smart)
    after = seen.next
    if after.rate == seen.course.rate:
        return False
    if after.why is not Why.BOUNDED:
        smart.direction, smart.pace_bp = after.direction, after.pace_bp
        smart.stepped_at = clock.now()
        smart.save(update_fields=["direction", "pace_bp", "stepped_at"])
    _ask(node, smart.steers, after.rate)
    audit.record(
        actor=Actor.system(),
        verb="node.price_stepped",
        subject_type="node",
        subject_id=node.pk,
        data=_inputs(seen),
    )
    return True


def _inputs(seen: Preview) -> dict[str, object]:
    """Return everything that one step followed from, so that anybody can follow it again."""
    return {
        "why": seen.next.why.value,
        "rate_before": seen.course.rate,
        "rate": seen.next.rate,
        "floor_rate": seen.wishes.floor,
        "ceiling_rate": seen.wishes.ceiling,
        "target_bp": seen.wishes.target_bp,
        "occupancy_bp": seen.seen.occupancy_bp,
        "rented_card_seconds": seen.seen.rented,
        "heard_card_seconds": seen.seen.heard,
        "cards": seen.seen.cards,
        "step_bp": seen.next.step_bp,
        "pace_bp": seen.course.pace_bp,
        "direction_before": seen.course.direction,
        "seconds_since_step": seen.course.since,
    }


def _preview(node: Node, smart: SmartPrice | None, wishes: Wishes | None = None) -> Preview:
    if wishes is None:
        assert smart is not None
        wishes = Wishes(smart.floor_rate, smart.ceiling_rate, smart.target_bp)
    now = rate_column(node)
    column = now if smart is None else smart.steers
    course = Course(getattr(node, column))
    if smart is not None:
        at = smart.stepped_at
        since = None if at is None else max(0, clock.epoch() - clock.to_epoch(at))
        course = Course(course.rate, smart.direction, smart.pace_bp, since)
    # Cards that a driver does not show for a while leave another price in force, of which nothing was wished.
    seen = _seen(node, steered=column == now)
    return Preview(wishes, course, seen, next_price(wishes, course, seen))


def _seen(node: Node, *, steered: bool) -> Seen:
    cards = max(1, Gpu.objects.filter(node=node, present=True).count())
    now = clock.now()
    start = clock.from_epoch(clock.to_epoch(now) - WINDOW_SECONDS)
    asked: dict[str, dt.datetime | uuid.UUID] = {"node": node.pk, "now": now, "start": start}
    with connection.cursor() as cursor:
        cursor.execute(RENTED, asked)
        (rented,) = cursor.fetchone()
        cursor.execute(HEARD, asked)
        (heard,) = cursor.fetchone()
    hidden = Offer.objects.filter(node=node).values_list("hidden_because", flat=True).first()
    offered = steered and hidden in ("", Hidden.TAKEN.value)
    return Seen(int(rented), int(heard) * cards, cards, offered)


def _ask(node: Node, column: str, rate: int) -> None:
    setattr(node, column, rate)
    node.save(update_fields=[column])
    refresh_offer(node)
