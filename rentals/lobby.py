"""Where starts wait for SSH, beside the threads that handle everybody's news: a bounded room in each process.

What finds no place is looked at by the clock's next round of all starts, so nothing depends on it but speed.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

# How many may wait at once, and how many of them for one renter or on one machine.
PLACES, SHARE = 64, 8


class Lobby:
    """A room with so many places, of which nobody has more than a share."""

    def __init__(self, places: int = PLACES, share: int = SHARE) -> None:
        self._pool = ThreadPoolExecutor(places, thread_name_prefix="lobby")
        self._places, self._share = places, share
        self._lock = threading.Lock()
        self._inside: set[uuid.UUID] = set()
        self._taken: Counter[uuid.UUID] = Counter()

    def enter(
        self, guest: uuid.UUID, *, of: Sequence[uuid.UUID], wait: Callable[[], object]
    ) -> bool:
        """Let `wait` run beside the caller; False when `guest` waits already or there is no place for it.

        Args:
            of: whom the place counts for, each with its share.
        """
        with self._lock:
            full = len(self._inside) >= self._places
            if full or guest in self._inside or any(self._taken[o] >= self._share for o in of):
                return False
            self._inside.add(guest)
            self._taken.update(of)
        self.run(lambda: self._stay(guest, of, wait))
        return True

    def run(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread of its own."""
        self._pool.submit(_alone, work)

    def _stay(self, guest: uuid.UUID, of: Sequence[uuid.UUID], wait: Callable[[], object]) -> None:
        try:
            wait()
        finally:
            with self._lock:
                self._inside.discard(guest)
                self._taken.subtract(of)
                self._taken += Counter()  # forgets whoever has none


def _alone(work: Callable[[], object]) -> None:
    try:
        work()
    finally:
        # The thread's connection goes back to the pool: most of its time it needs none.
        connections.close_all()


lobby = Lobby()
