"""How much each container has written, where the engine's storage sets no limit of its own: watched, and stopped.

The free space is looked at every few seconds; the containers are measured, which walks their files, when much of
it has gone, and once in a minute. Whoever is over his limit is stopped at once. Started again, he has ten minutes to
delete without writing more, three times; below the limit all is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hostagent.engine import Engine, EngineAway, EngineError
from hostagent.journal import Journal
from hostagent.planner import Wish
from hostagent.protocol import ContainerSpec

log = logging.getLogger(__name__)

GIB = 1024**3
MIB = 1024**2
LOOK_SECONDS = 5.0
MEASURE_SECONDS = 60.0
# So much less free space than at the last measuring is a reason to measure now.
GONE_BYTES = 256 * MIB
CLEANUP_SECONDS = 600.0
# What may still be written while cleaning up: logs, a shell's history.
SLACK_BYTES = 64 * MIB
CHANCES = 3
CODE = "disk_full"


@dataclass
class Guard:
    """One container's limit. Pure.

    Args:
        limit: bytes.
        stops: how often it was stopped for this since it was last below its limit.
    """

    limit: int
    stops: int = 0
    # Since when (monotonic seconds) it cleans up, and with how much it began.
    cleaning: tuple[float, int] | None = None

    def is_over(self, used: int, now: float) -> bool:
        """Whether a container that has written `used` bytes has to stop at `now` (monotonic seconds)."""
        if used <= self.limit:
            self.stops, self.cleaning = 0, None
            return False
        if self.stops and self.stops <= CHANCES:
            self.cleaning = self.cleaning or (now, used)
            since, least = self.cleaning
            if now - since <= CLEANUP_SECONDS and used <= least + SLACK_BYTES:
                return False
        self.stops, self.cleaning = self.stops + 1, None
        return True


class Watched(Protocol):
    """What is watched of a workload."""

    id: str
    generation: int
    spec: ContainerSpec | None
    wish: Wish

    def wake(self) -> None: ...


class DiskWatch:
    """The watch over all containers of this node.

    Args:
        root: where the engine keeps the containers' files.
    """

    def __init__(self, engine: Engine, journal: Journal, root: Path) -> None:
        self.engine = engine
        self.journal = journal
        self.root = root
        self._guards: dict[tuple[str, int], Guard] = {}
        self._measured = -MEASURE_SECONDS
        self._free = 0

    async def run(self, workloads: Callable[[], Iterable[Watched]]) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if await asyncio.to_thread(self._is_due):
                    self.judge(await asyncio.to_thread(self.engine.sizes), workloads())
            except (EngineError, EngineAway, OSError) as error:
                log.warning("disks: %s", error)

    def _is_due(self) -> bool:
        now, free = time.monotonic(), 0
        # Not there for an agent that runs in a container: then the clock decides alone.
        with suppress(OSError):
            stat = os.statvfs(self.root)
            free = stat.f_bavail * stat.f_frsize
        if now - self._measured < MEASURE_SECONDS and self._free - free < GONE_BYTES:
            return False
        self._measured, self._free = now, free
        return True

    def judge(self, sizes: dict[tuple[str, int], int], workloads: Iterable[Watched]) -> None:
        """Fail every workload that is over its limit; its own task then stops it.

        What is on its way down already is left: it must lose no chance by being seen again, and its ten minutes
        begin with its next start.

        Args:
            sizes: (workload id, generation) -> bytes that its running container has written.
        """
        watched = {(each.id, each.generation): each for each in workloads if self._is_up(each)}
        self._guards = {key: guard for key, guard in self._guards.items() if key in watched}
        for key, used in sizes.items():
            if key in watched:
                self._judge_one(watched[key], used)

    def _is_up(self, workload: Watched) -> bool:
        failed = self.journal.failure(workload.id, workload.generation) is not None
        return workload.spec is not None and workload.wish is Wish.RUNNING and not failed

    def _judge_one(self, workload: Watched, used: int) -> None:
        assert workload.spec is not None
        key, limit = (workload.id, workload.generation), workload.spec.resource_limits.disk_gb * GIB
        guard = self._guards.setdefault(key, Guard(limit, self.journal.disk_stops(*key)))
        guard.limit = limit
        before = guard.stops
        over = guard.is_over(used, time.monotonic())
        if guard.stops != before:
            self.journal.note_disk_stops(*key, guard.stops)
        if over:
            log.warning("%s: has written %s bytes, may %s", workload.id, used, limit)
            self.journal.note_failure(*key, CODE, _words(used, limit, guard.stops))
            workload.wake()


def _words(used: int, limit: int, stops: int) -> str:
    """Return what the renter reads."""
    said = f"It has written {used / GIB:.1f} GiB, and its disk is {limit / GIB:.0f} GiB."
    if stops <= CHANCES:
        minutes = CLEANUP_SECONDS / 60
        return f"{said} Start it again: it then has {minutes:.0f} minutes to delete something."
    return f"{said} It was started {CHANCES} times to delete something, and did not."
