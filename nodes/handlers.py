"""News of machines that must leave the database: hints to the gateways, and what hosts are told."""

from __future__ import annotations

import uuid

from core import bus
from core.outbox import on
from nodes import services
from nodes.events import (
    NEWS_CHANNEL,
    ListingChanged,
    NodeBack,
    NodeCloned,
    NodeFirstSeen,
    NodeLost,
    WorkloadWished,
)


@on(WorkloadWished)
def hint_gateways(event: WorkloadWished) -> None:
    """Tell whichever gateway holds this node; if the hint is lost, the gateways' poll finds it."""
    bus.client().publish(NEWS_CHANNEL, event.node_id)


@on(NodeFirstSeen)
def tell_of_first(event: NodeFirstSeen) -> None:
    services.tell_host(node_id=uuid.UUID(event.node_id), code="machine_online", at=event.at)


@on(NodeLost)
def tell_of_loss(event: NodeLost) -> None:
    services.tell_host(node_id=uuid.UUID(event.node_id), code="machine_offline", at=event.last_beat)


@on(NodeBack)
def tell_of_return(event: NodeBack) -> None:
    # A first session comes back from nothing.
    if event.first_beat <= event.last_beat:
        return
    services.tell_host(
        node_id=uuid.UUID(event.node_id),
        code="machine_back",
        at=event.first_beat,
        since=event.last_beat,
    )


@on(NodeCloned)
def tell_of_clone(event: NodeCloned) -> None:
    services.tell_host(node_id=uuid.UUID(event.node_id), code="machine_cloned", at=event.at)


@on(ListingChanged)
def tell_of_listing(event: ListingChanged) -> None:
    services.tell_of_listing(
        node_id=uuid.UUID(event.node_id), was=event.was, now=event.now, at=event.at
    )
