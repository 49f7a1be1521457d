"""All agent connections of one gateway process: nudges in, heartbeats out in batches.

- `beats` collects the last beat of each session in memory; one write every flush empties it.
- `figures` keeps the newest figures of each node; a store that is away costs figures, nothing else.
- A Redis channel brings "this node has news"; it may lose messages, so a poll by clock asks the
  database for every connected node's epoch and generation, and does the same with the differences.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

import redis.asyncio as redis
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError

from hostagent.protocol import Metrics
from nodes import gateway, queries, services, telemetry
from nodes.events import NEWS_CHANNEL

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
LINES_PER_WRITE = 5000
# How long a connection may take to be told something before it is left alone until the next poll.
NUDGE_SECONDS = 10.0


class Connection(Protocol):
    """What the hub needs of a connection."""

    async def news(self) -> None:
        """Tell the agent what changed."""

    async def fence(self) -> None:
        """Close: a newer session has taken over."""

    async def start_over(self) -> None:
        """Close: the node counts as lost, and only a new hello shows what it still runs."""

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, generation last told)."""


class Hub:
    """The registry of one process. One event loop, so no locks."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.connections: dict[str, Connection] = {}
        self.beats: dict[tuple[str, int], float] = {}
        self.figures: dict[str, tuple[int, Metrics]] = {}
        self.lost_lines = 0
        self._allowances: dict[object, gateway.Allowance] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._nudges: Counter[Connection] = Counter()
        self._nudging: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the background loops, once, on the running loop."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._forever(self._flush, FLUSH_SECONDS)),
                loop.create_task(self._forever(self._ship, FLUSH_SECONDS)),
                loop.create_task(self._forever(self._listen, 0.5)),
                loop.create_task(self._forever(self._poll, settings.DC.reconcile_seconds)),
            ]

    def add(self, node_id: str, connection: Connection) -> None:
        """Register a welcomed connection; the newest of a node wins."""
        self.connections[node_id] = connection

    def remove(self, node_id: str, connection: Connection) -> None:
        """Forget a connection, unless a newer one has its place."""
        if self.connections.get(node_id) is connection:
            del self.connections[node_id]

    def allowance(self, key_id: object) -> gateway.Allowance:
        """Return how many frames the links of a key may send: whoever comes back gets no more by it."""
        return self._allowances.setdefault(key_id, gateway.Allowance())

    def beat(self, node_id: str, epoch: int, metrics: Metrics) -> None:
        """Note a heartbeat. No I/O. However many come, a node keeps one set of figures for a flush."""
        now = time.time()
        self.beats[(node_id, epoch)] = now
        self.figures[node_id] = (int(now), metrics)

    async def _forever(self, step: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await step()
            except (DatabaseError, redis.RedisError, OSError, telemetry.TelemetryAway) as error:
                log.warning("%s: %s", getattr(step, "__name__", step), error)
            except Exception:  # the outer loop: what one agent says must not end it for all
                log.exception("%s", getattr(step, "__name__", step))
            await asyncio.sleep(pause)

    def _nudge(self, connection: Connection, step: Callable[[], Awaitable[None]]) -> None:
        """Let a connection speak in a task of its own: an agent that does not read delays nobody else.

        One step that runs and one that waits behind it are enough: the second sees everything new.
        """
        if self._nudges[connection] < 2:
            self._nudges[connection] += 1
            task = asyncio.get_running_loop().create_task(self._speak(connection, step))
            self._nudging.add(task)
            task.add_done_callback(self._nudging.discard)

    async def _speak(self, connection: Connection, step: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(NUDGE_SECONDS):
                await step()
        except (DatabaseError, OSError) as error:  # a timeout is an OSError
            log.warning("an agent could not be told: %s", str(error) or type(error).__name__)
        except Exception:  # the outer loop of one nudge
            log.exception("an agent could not be told")
        finally:
            self._nudges[connection] -= 1
            if not self._nudges[connection]:
                del self._nudges[connection]

    async def _flush(self) -> None:
        beats, self.beats = self.beats, {}
        if beats:
            try:
                await database_sync_to_async(services.record_beats)(beats=beats)
            except DatabaseError:
                self.beats = {**beats, **self.beats}
                raise

    async def _ship(self) -> None:
        figures, self.figures = self.figures, {}
        if figures:
            await asyncio.to_thread(self._write, figures)

    def _write(self, figures: dict[str, tuple[int, Metrics]]) -> None:
        lines = [
            line
            for node_id, (at, metrics) in figures.items()
            for line in telemetry.lines_of(node_id, metrics, at)
        ]
        for first in range(0, len(lines), LINES_PER_WRITE):
            try:
                telemetry.store().write(lines[first : first + LINES_PER_WRITE])
            except telemetry.TelemetryAway as error:
                self.lost_lines += len(lines) - first
                told = f"{error} ({self.lost_lines} lines lost since the start)"
                raise telemetry.TelemetryAway(told) from error

    async def _listen(self) -> None:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=None)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(NEWS_CHANNEL)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    connection = self.connections.get(message["data"].decode())
                    if connection is not None:
                        self._nudge(connection, connection.news)

    async def _poll(self) -> None:
        left = {key: some for key, some in self._allowances.items() if not some.is_full}
        self._allowances = left
        node_ids = list(self.connections)
        if not node_ids:
            return
        current = await database_sync_to_async(queries.current_positions)(node_ids)
        for node_id in node_ids:
            connection = self.connections.get(node_id)
            if connection is None or node_id not in current:
                continue
            epoch, generation, lost = current[node_id]
            if connection.position[0] < epoch:
                self._nudge(connection, connection.fence)
            elif lost:
                self._nudge(connection, connection.start_over)
            elif connection.position[1] < generation:
                self._nudge(connection, connection.news)


hub = Hub()
