"""How busy one container is and how much it has sent: readings in, two facts out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Next to nothing: a shell and an SSH server need about a thousandth of a core.
IDLE_CORES = 0.05
IDLE_GPU_PERCENT = 5.0
# How many quiet readings in a row make a container idle: one busy reading ends it.
IDLE_READINGS = 4
# What was sent is told in steps of this many bytes, so that traffic makes few reports.
SENT_STEP = 64_000_000


@dataclass(frozen=True)
class Usage:
    """One reading. Both counters begin at 0 when the container starts.

    Args:
        at: monotonic seconds.
        cpu_seconds: CPU time used.
        sent_bytes: what left the container.
    """

    at: float
    cpu_seconds: float
    sent_bytes: int


class Load:
    """What the readings of one container say.

    Args:
        sent_bytes: what it had sent in its life when that was noted last.
        counter: the engine's own counter at that moment.
    """

    def __init__(self, sent_bytes: int = 0, counter: int = 0) -> None:
        self._sent = sent_bytes
        self._counter = counter
        self._last: Usage | None = None
        self._quiet = 0

    def read(self, usage: Usage, gpus: Sequence[float | None]) -> None:
        """Take a reading with the use of each card in percent; a card that tells nothing counts as busy."""
        last, self._last = self._last, usage
        started = last is not None and usage.cpu_seconds < last.cpu_seconds
        if started or usage.sent_bytes < self._counter:
            self._counter = 0
        self._sent += usage.sent_bytes - self._counter
        self._counter = usage.sent_bytes
        if last is None or started or usage.at <= last.at:
            self._quiet = 0
            return
        cores = (usage.cpu_seconds - last.cpu_seconds) / (usage.at - last.at)
        working = any(use is None or use > IDLE_GPU_PERCENT for use in gpus)
        self._quiet = 0 if working or cores > IDLE_CORES else self._quiet + 1

    @property
    def idle(self) -> bool:
        """Whether it has done next to nothing for a while."""
        return self._quiet >= IDLE_READINGS

    @property
    def memory(self) -> tuple[int, int]:
        """Return what to begin with after a restart of the agent: what was sent, and the engine's counter."""
        return self._sent, self._counter

    @property
    def sent_bytes(self) -> int:
        """Return what it has sent in its life here, in whole steps."""
        return self._sent - self._sent % SENT_STEP
