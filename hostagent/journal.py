"""What must survive the agent: who was stopped by us, who has failed, how far the wishes were read.

One small JSON file, replaced as a whole. No secrets: specs come again with every `welcome`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import msgspec

from hostagent.identity import write_private

log = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    """What the file holds."""

    stopped: list[str] = []
    failed: dict[str, tuple[int, str, str]] = {}
    started: dict[str, int] = {}
    restarts: dict[str, int] = {}
    checkpoints: dict[str, int] = {}
    sent: dict[str, tuple[int, int]] = {}
    disk_stops: dict[str, tuple[int, int]] = {}


class Journal:
    """The agent's memory on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data: dict[str, Any] = msgspec.structs.asdict(_Kept())
        if path.exists():
            try:
                self._data.update(
                    msgspec.structs.asdict(msgspec.json.decode(path.read_bytes(), type=_Kept))
                )
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                # It is replaced as a whole, so this is not ours: start from what the engine shows.
                path.unlink()

    def _write(self) -> None:
        try:
            write_private(self.path, json.dumps(self._data).encode())
        except OSError as error:
            # A full disk must not keep anything from being stopped; what we know stays in memory.
            log.error("the journal could not be written: %s", error)

    def note_stop(self, workload_id: str) -> None:
        """Remember that we stop this container, before we do it."""
        if workload_id not in self._data["stopped"]:
            self._data["stopped"].append(workload_id)
            self._write()

    def forget_stop(self, workload_id: str) -> None:
        """The container runs again."""
        if workload_id in self._data["stopped"]:
            self._data["stopped"].remove(workload_id)
            self._write()

    def is_stopped(self, workload_id: str) -> bool:
        """Whether we stopped this container."""
        return workload_id in self._data["stopped"]

    def note_there(self, workload_id: str, generation: int) -> None:
        """Remember that this incarnation has a container that was started: should it be gone, it was lost."""
        if self._data["started"].get(workload_id) != generation:
            self._data["started"][workload_id] = generation
            self._write()

    def was_there(self, workload_id: str, generation: int) -> bool:
        """Whether this incarnation has had a container that was started."""
        return bool(self._data["started"].get(workload_id) == generation)

    def note_start(self, workload_id: str, restarts: int) -> None:
        """The container was started after this many restarts had been wished."""
        if workload_id in self._data["stopped"]:
            self._data["stopped"].remove(workload_id)
        if restarts:
            self._data["restarts"][workload_id] = restarts
        self._write()

    def restarts(self, workload_id: str) -> int:
        """Return how many of the wished restarts this container has had."""
        return int(self._data["restarts"].get(workload_id, 0))

    def note_checkpoint(self, workload_id: str, serial: int) -> None:
        """Remember that a checkpoint command is about to run: it runs once at most."""
        self._data["checkpoints"][workload_id] = serial
        self._write()

    def checkpoint(self, workload_id: str) -> int:
        """Return the number of the last checkpoint command that was begun."""
        return int(self._data["checkpoints"].get(workload_id, 0))

    def note_sent(self, workload_id: str, sent: tuple[int, int]) -> None:
        """Remember what a container has sent, and the engine's counter, which begins anew with every start."""
        self._data["sent"][workload_id] = sent
        self._write()

    def sent(self, workload_id: str) -> tuple[int, int]:
        """Return what a container had sent when it was noted last, and the engine's counter then, in bytes."""
        sent, counter = self._data["sent"].get(workload_id, (0, 0))
        return sent, counter

    def note_disk_stops(self, workload_id: str, generation: int, stops: int) -> None:
        """Remember how often this incarnation was stopped for a full disk."""
        self._data["disk_stops"][workload_id] = [generation, stops]
        self._write()

    def disk_stops(self, workload_id: str, generation: int) -> int:
        """Return how often this incarnation was stopped for a full disk since it was below its limit."""
        found = self._data["disk_stops"].get(workload_id)
        return int(found[1]) if found and found[0] == generation else 0

    def note_failure(self, workload_id: str, generation: int, code: str, message: str) -> None:
        """Remember that this incarnation has failed and is not tried again."""
        self._data["failed"][workload_id] = [generation, code, message]
        self._write()

    def failure(self, workload_id: str, generation: int) -> tuple[str, str] | None:
        """Return (code, message) of this incarnation's failure, or None."""
        found = self._data["failed"].get(workload_id)
        return (found[1], found[2]) if found and found[0] == generation else None

    def forget_failure(self, workload_id: str) -> None:
        """What has failed may be tried again."""
        if self._data["failed"].pop(workload_id, None):
            self._write()

    def forget(self, workload_id: str) -> None:
        """Nothing of this workload is left."""
        self._data["failed"].pop(workload_id, None)
        for kept in ("restarts", "checkpoints", "sent", "started", "disk_stops"):
            self._data[kept].pop(workload_id, None)
        self.forget_stop(workload_id)
        self._write()
