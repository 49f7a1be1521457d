"""What happens to machines and workloads. Ids only."""

from __future__ import annotations

from typing import ClassVar

from core.events import Event

# The Redis channel on which gateways hear that a node has news; the message is the node id.
NEWS_CHANNEL = "dc:node-news"


class NodeChanged(Event, frozen=True, kw_only=True):
    """Something a page shows about a node has changed."""

    topic: ClassVar[str] = "nodes.node_changed"
    node_id: str


class WorkloadWished(Event, frozen=True, kw_only=True):
    """What should run on a node has changed; its gateway should say so."""

    topic: ClassVar[str] = "nodes.workload_wished"
    node_id: str


class WorkloadObserved(Event, frozen=True, kw_only=True):
    """An agent has reported something new about a workload."""

    topic: ClassVar[str] = "nodes.workload_observed"
    workload_id: str


class NodeLost(Event, frozen=True, kw_only=True):
    """A node has been silent for longer than the offline limit. `last_beat` in epoch seconds."""

    topic: ClassVar[str] = "nodes.node_lost"
    node_id: str
    last_beat: int


class NodeBack(Event, frozen=True, kw_only=True):
    """A node is heard again after a gap longer than the offline limit, noticed before or not.

    The gap is [last_beat, first_beat), in epoch seconds.
    """

    topic: ClassVar[str] = "nodes.node_back"
    node_id: str
    last_beat: int
    first_beat: int


class NodeFirstSeen(Event, frozen=True, kw_only=True):
    """A machine has opened its first session."""

    topic: ClassVar[str] = "nodes.node_first_seen"
    node_id: str
    at: float


class NodeCloned(Event, frozen=True, kw_only=True):
    """Two machines used one identity; both are put aside."""

    topic: ClassVar[str] = "nodes.node_cloned"
    node_id: str
    at: float


class NodeDrained(Event, frozen=True, kw_only=True):
    """A host has begun (or ended: not `draining`) to take a machine out of the market."""

    topic: ClassVar[str] = "nodes.node_drained"
    node_id: str
    draining: bool
    at: float


class ListingChanged(Event, frozen=True, kw_only=True):
    """The search shows a machine, or does not, for another reason than before (codes of `Hidden`, "": shown)."""

    topic: ClassVar[str] = "nodes.listing_changed"
    node_id: str
    was: str
    now: str
    at: float


class LogsExpiring(Event, frozen=True, kw_only=True):
    """The last words of what ran for a subject will be deleted at `until` (epoch seconds)."""

    topic: ClassVar[str] = "nodes.logs_expiring"
    workload_id: str
    subject_id: str
    until: int
