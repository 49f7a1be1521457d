"""News of machines that must leave the database: hints to the gateways."""

from __future__ import annotations

from core import bus
from core.outbox import on
from nodes.events import NEWS_CHANNEL, WorkloadWished


@on(WorkloadWished)
def hint_gateways(event: WorkloadWished) -> None:
    """Tell whichever gateway holds this node; if the hint is lost, the gateways' poll finds it."""
    bus.client().publish(NEWS_CHANNEL, event.node_id)
