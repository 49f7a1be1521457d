"""What the agent does in a container that runs: it saves the renter's work before a stop, and reads how busy it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hostagent import hardware
from hostagent.engine import Engine, EngineAway, EngineError
from hostagent.handover import PATIENCE_SECONDS, Handover
from hostagent.journal import Journal
from hostagent.load import Load
from hostagent.protocol import Checkpoint, CheckpointDone, ContainerSpec

log = logging.getLogger(__name__)


class Inside:
    """One workload's inside. `news` is called when there is something to report."""

    def __init__(
        self,
        workload_id: str,
        engine: Engine,
        journal: Journal,
        handover: Handover,
        news: Callable[[], None],
    ) -> None:
        self.id = workload_id
        self.handover = handover
        self.engine = engine
        self.journal = journal
        self.news = news
        self.load = Load(*journal.sent(workload_id))
        self.checkpoint: CheckpointDone | None = None
        self._saving: asyncio.Task[None] | None = None

    def save_if_due(self, name: str, spec: ContainerSpec) -> None:
        """Begin a checkpoint command that was not begun before; it ends in a task of its own."""
        wanted = spec.checkpoint
        if wanted is None or wanted.serial <= self.journal.checkpoint(self.id):
            return
        log.info("%s: checkpoint", name)
        # Noted first: after a crash it is not run twice.
        self.journal.note_checkpoint(self.id, wanted.serial)
        self._saving = asyncio.get_running_loop().create_task(self._save(name, wanted, spec))

    async def _save(self, name: str, wanted: Checkpoint, spec: ContainerSpec) -> None:
        exit_code: int | None = -1
        words = self.handover.words(spec, wanted.command)
        try:
            exit_code, _ = await asyncio.gather(
                asyncio.to_thread(self.engine.run_inside, name, words, wanted.timeout_s),
                asyncio.to_thread(self.handover.feed, spec, PATIENCE_SECONDS),
            )
        except (EngineError, EngineAway) as error:
            log.warning("%s: checkpoint: %s", name, error)
        self.checkpoint = CheckpointDone(serial=wanted.serial, exit_code=exit_code)
        self.news()

    async def read_load(self, name: str, spec: ContainerSpec) -> None:
        """Read how busy the running container is and how much it has sent."""
        cards = spec.resource_limits.gpu_uuids
        try:
            usage = await asyncio.to_thread(self.engine.usage, name)
            uses = await asyncio.to_thread(hardware.card_use, cards) if cards else []
        except (EngineError, EngineAway) as error:
            log.warning("%s: %s", name, error)
            return
        idle, sent = self.load.idle, self.load.sent_bytes
        self.load.read(usage, uses)
        if self.load.sent_bytes != sent:
            self.journal.note_sent(self.id, self.load.memory)
        if (self.load.idle, self.load.sent_bytes) != (idle, sent):
            self.news()
