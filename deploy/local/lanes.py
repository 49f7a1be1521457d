"""Work in parallel lanes with visible progress. Standard library only.

A lane is a function that runs in a thread and returns its last note. It may wait for milestones of
other lanes, it says what it is doing, and it stops with `LaneError` in plain words. The board shows one
line a lane, redrawn on a terminal and appended elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICK_SECONDS = 0.2
LOG_LINES_SHOWN = 12
USUAL_COLUMNS = 100


class LaneError(Exception):
    """A lane cannot go on; the message tells the reader what is missing and what to do."""


class Abandoned(Exception):
    """Another lane failed or the user pressed Ctrl-C: this one ends quietly."""


@dataclass
class Lane:
    """One lane: its name, its work, and what the board knows about it."""

    name: str
    work: Callable[[Lane], str]
    note: str = "waiting"
    state: str = "waits"
    seconds: float = 0.0
    error: Exception | None = None
    board: Board = field(init=False, repr=False)

    @property
    def log(self) -> Path:
        """Where the commands of this lane write."""
        return self.board.logs / f"{self.name}.log"

    def say(self, note: str) -> None:
        """Tell the reader what happens now."""
        self.note = note
        self.board.changed(self)

    def wait_for(self, milestone: str) -> None:
        """Wait until a lane has reached the milestone. Raises `Abandoned`."""
        event = self.board.milestone(milestone)
        while not event.wait(TICK_SECONDS):
            if self.board.abandoned.is_set():
                raise Abandoned

    def reach(self, milestone: str) -> None:
        """Let the lanes go on that wait for the milestone."""
        self.board.milestone(milestone).set()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command with its words in the lane's log.

        Raises:
            LaneError: it failed; the message holds its last words.
            Abandoned: the lanes were called off; the command was stopped.
        """
        words = [str(part) for part in command]
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen(
                words, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            code = self._wait(process)
        if code:
            raise LaneError(
                f"`{' '.join(words[:3])} …` ended with {code}:\n{self.last_words(start)}"
            )

    def last_words(self, start: int = 0) -> str:
        """Return the last lines of the log after byte `start`, and where the rest is."""
        with self.log.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").splitlines()
        shown = "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])
        return f"{shown}\n    (all of it: {self.log})"

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                if self.board.abandoned.is_set():
                    os.killpg(process.pid, 15)
                    process.wait()
                    raise Abandoned from None


class Board:
    """Runs lanes and shows them."""

    def __init__(self, logs: Path, title: str) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.title = title
        self.abandoned = threading.Event()
        self._milestones: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._lanes: list[Lane] = []
        self._drawn = 0
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def milestone(self, name: str) -> threading.Event:
        """Return the event behind a milestone."""
        with self._lock:
            return self._milestones.setdefault(name, threading.Event())

    def changed(self, lane: Lane) -> None:
        """Show a change at once where lines are appended."""
        if not self._live:
            with self._lock:
                print(self._line(lane), flush=True)

    def run(self, lanes: Sequence[Lane]) -> None:
        """Run all lanes to their end. Raises the first lane's `LaneError`."""
        self._lanes = list(lanes)
        print(self.title, flush=True)
        threads = []
        for lane in lanes:
            lane.board = self
            lane.log.write_bytes(b"")
            threads.append(threading.Thread(target=self._work, args=(lane,), name=lane.name))
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                self._draw()
                time.sleep(TICK_SECONDS)
        finally:
            if any(thread.is_alive() for thread in threads):
                self.abandoned.set()
            for thread in threads:
                thread.join()
            self._draw()
        self._raise_failure()

    def _raise_failure(self) -> None:
        for lane in self._lanes:
            if lane.error is not None and not isinstance(lane.error, Abandoned):
                raise LaneError(f"{lane.name}: {lane.error}") from lane.error

    def _work(self, lane: Lane) -> None:
        began = time.monotonic()
        lane.state = "works"
        try:
            lane.note = lane.work(lane)
            lane.state = "done"
        except Abandoned as stop:
            lane.state, lane.note, lane.error = "stopped", "stopped", stop
        except Exception as error:  # the outer loop of a lane: the board raises it again
            lane.state, lane.error = "failed", error
            self.abandoned.set()
        lane.seconds = time.monotonic() - began
        self.changed(lane)

    def _line(self, lane: Lane) -> str:
        mark = {"done": "✓", "failed": "✗", "stopped": "-"}.get(lane.state, "…")
        if self._live:
            elapsed = lane.seconds or time.monotonic() - self._began
            return f"  {mark} {lane.name:<10} {elapsed:6.1f} s  {lane.note}"[: _width() - 1]
        return f"  [{time.monotonic() - self._began:6.1f} s] {mark} {lane.name:<10} {lane.note}"

    def _draw(self) -> None:
        if not self._live:
            return
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        lines = "".join(f"\x1b[2K{self._line(lane)}\n" for lane in self._lanes)
        sys.stdout.write(up + lines)
        sys.stdout.flush()
        self._drawn = len(self._lanes)


def _width() -> int:
    try:
        return os.get_terminal_size().columns or USUAL_COLUMNS
    except OSError:
        return USUAL_COLUMNS
