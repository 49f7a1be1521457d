"""What a host asks for machines: one or many at a time. What runs keeps the price that it has."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal

from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, money, outbox
from core.errors import Conflict, DomainError, Invalid
from nodes.events import NodeChanged
from nodes.models import Gpu, Node, Offer, SmartPrice
from nodes.services.listing import own_node

MAX_HOURLY = Decimal(1000)
# So many machines are locked at once by a change of many prices, and no more.
MOST_AT_ONCE = 200


@dataclass(frozen=True)
class Prices:
    """Prices as a host writes them (currency units); None leaves the one that is.

    An hour of one card; of a whole machine without cards; the least an hour of a rental's compute costs
    however few cards it takes; a GB of disk for a month; a GB that is sent out, which costs nothing for now.
    """

    gpu_hourly: Decimal | None = None
    cpu_node_hourly: Decimal | None = None
    minimum_hourly: Decimal | None = None
    storage_gb_monthly: Decimal | None = None
    egress_gb: Decimal | None = None

    def require_possible(self) -> None:
        """Raise Invalid `price_range`, `egress_price_not_zero`."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, price in given.items():
            if price is not None and not (price.is_finite() and 0 <= price <= MAX_HOURLY):
                raise Invalid(
                    "price_range", f"A price lies between 0 and {MAX_HOURLY}.", field=name
                )
        if self.egress_gb:
            raise Invalid(
                "egress_price_not_zero",
                "What a rental sends is counted and shown, and costs nothing for now. Leave this price at 0.",
            )

    def rates(self) -> dict[str, int]:
        """Return the rates (nano/s) that are asked for, by the name of a node's column."""
        wanted = {
            "gpu_rate": _rate(self.gpu_hourly),
            "cpu_node_rate": _rate(self.cpu_node_hourly),
            "minimum_rate": _rate(self.minimum_hourly),
            "storage_gb_rate": None
            if self.storage_gb_monthly is None
            else money.rate_from_monthly(self.storage_gb_monthly),
        }
        return {name: rate for name, rate in wanted.items() if rate is not None}


def _rate(hourly: Decimal | None) -> int | None:
    return None if hourly is None else money.rate_from_hourly(hourly)


@transaction.atomic
def set_prices(
    *,
    actor: Actor,
    node_id: uuid.UUID,
    gpu_hourly: Decimal,
    cpu_node_hourly: Decimal,
    storage_gb_monthly: Decimal,
    minimum_hourly: Decimal | None = None,
    egress_gb: Decimal | None = None,
) -> Node:
    """Publish a node's prices (currency units per GPU-hour, node-hour, GB-month) from now on.

    `minimum_hourly` stays as it is when it is not named. Running rentals keep theirs. Raises NotFound
    `node_unknown`, Forbidden `host_only`, Invalid `price_range`, `egress_price_not_zero`, Conflict `smart_pricing_on`.
    """
    actor.require("node:manage")
    prices = Prices(gpu_hourly, cpu_node_hourly, minimum_hourly, storage_gb_monthly, egress_gb)
    prices.require_possible()
    node = own_node(actor, node_id)
    _publish(actor, node, prices, _known_of([node.pk]))
    return node


@transaction.atomic
def set_prices_of_many(
    *, actor: Actor, node_ids: Iterable[uuid.UUID] | None, prices: Prices
) -> list[Node]:
    """Publish the same prices on several machines (None: all that the actor owns); on all of them or on none.

    Raises Invalid `prices_missing`, `price_range`, `egress_price_not_zero`, `machines_missing`,
    `machines_too_many`; Conflict `prices_refused` with each machine that is in the way and why.
    """
    actor.require("node:manage")
    prices.require_possible()
    if not prices.rates():
        raise Invalid("prices_missing", "Name at least one price that is to change.")
    wanted = set(_ids_of_all(actor) if node_ids is None else node_ids)
    if not wanted:
        raise Invalid("machines_missing", "Name at least one machine.")
    if len(wanted) > MOST_AT_ONCE:
        raise Invalid(
            "machines_too_many",
            f"At most {MOST_AT_ONCE} machines change at once; these are {len(wanted)}. Send them in parts.",
        )
    mine = Node.objects.filter(owner_id=actor.user_id)
    found = {node.pk: node for node in mine.lock().filter(pk__in=wanted)}
    known = _known_of(found)
    refused = [
        {"id": str(pk), "name": None, "code": "node_unknown", "error": "You have no such machine."}
        for pk in sorted(wanted - found.keys())
    ]
    for node in found.values():
        try:
            _publish(actor, node, prices, known)
        except DomainError as error:
            told = {"code": error.code, "error": error.message}
            refused.append({"id": str(node.pk), "name": node.name, **told})
    if refused:
        raise Conflict(
            "prices_refused",
            f"{len(refused)} of {len(wanted)} machines cannot take these prices, so none was changed: "
            + "; ".join(f"{each['name'] or each['id']}: {each['error']}" for each in refused[:5]),
            machines=refused,
        )
    return sorted(found.values(), key=lambda node: node.name)


def _ids_of_all(actor: Actor) -> Iterable[uuid.UUID]:
    """Return the machines that this person owns; staff see others' too, and mean their own all the same."""
    return Node.objects.filter(owner_id=actor.user_id).values_list("pk", flat=True)


def rate_column(node: Node) -> str:
    """Return which price is that of a node's offer: that of a card, or of a machine that has none."""
    return "gpu_rate" if Gpu.objects.filter(node=node, present=True).exists() else "cpu_node_rate"


@dataclass(frozen=True)
class _Known:
    """What decides about the prices of some machines, read for all of them at once."""

    with_cards: frozenset[uuid.UUID]
    steered: frozenset[uuid.UUID]


def _known_of(ids: Iterable[uuid.UUID]) -> _Known:
    """Return which of these locked machines have cards, and which smart pricing sets the price of."""
    asked = list(ids)
    cards = Gpu.objects.filter(node_id__in=asked, present=True).values_list("node_id", flat=True)
    smart = SmartPrice.objects.filter(node_id__in=asked, on=True).values_list("node_id", flat=True)
    return _Known(frozenset(cards), frozenset(smart))


def _publish(actor: Actor, node: Node, prices: Prices, known: _Known) -> None:
    """Let a locked node ask these prices from now on; raises Conflict `smart_pricing_on`."""
    rates = prices.rates()
    column = "gpu_rate" if node.pk in known.with_cards else "cpu_node_rate"
    changed = rates.get(column, getattr(node, column)) != getattr(node, column)
    if changed and node.pk in known.steered:
        raise Conflict(
            "smart_pricing_on",
            "Smart pricing sets what an hour of this machine costs. Change its bounds, or switch it off first.",
        )
    for name, rate in rates.items():
        setattr(node, name, rate)
    node.save(update_fields=list(rates))
    _offer_at(node, getattr(node, column))
    audit.record(
        actor=actor,
        verb="node.prices_set",
        subject_type="node",
        subject_id=node.pk,
        data={
            "gpu_rate": node.gpu_rate,
            "cpu_node_rate": node.cpu_node_rate,
            "minimum_rate": node.minimum_rate,
            "storage_gb_rate": node.storage_gb_rate,
        },
    )


def _offer_at(node: Node, compute_rate: int) -> None:
    """Let the offer of a locked node say its prices: what can be rented of it stays, so nothing else is looked at."""
    Offer.objects.filter(node=node).update(
        compute_rate=compute_rate,
        storage_gb_rate=node.storage_gb_rate,
        minimum_rate=node.minimum_rate,
        updated_at=clock.now(),
    )
    outbox.publish(NodeChanged(node_id=str(node.pk)))
