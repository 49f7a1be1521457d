"""One Redis connection pool a process, for hints that may be lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

import redis
from django.conf import settings
from redis.exceptions import LockError, RedisError
from redis.lock import Lock


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """Return the process's Redis client."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


class Place:
    """Where one at most works at a time; true for whom has it."""

    def __init__(self, lock: Lock, seconds: float) -> None:
        self._lock, self._seconds = lock, seconds
        self._kept = time.monotonic()
        self._mine = bool(lock.acquire())

    def __bool__(self) -> bool:
        return self._mine

    def keep(self) -> bool:
        """Have it for as long again, as whoever works longer has to say; False when it is lost."""
        now = time.monotonic()
        if self._mine and now - self._kept > self._seconds / 3:
            try:
                self._lock.extend(self._seconds, replace_ttl=True)
                self._kept = now
            except RedisError:  # somebody else may be there by now
                self._mine = False
        return self._mine

    def leave(self) -> None:
        """Give it up for the next one; whoever took longer leaves it to whom has it now."""
        if self._mine:
            with suppress(LockError):
                self._lock.release()


@contextmanager
def alone(name: str, *, seconds: float) -> Iterator[Place]:
    """Yield whether nobody else is at `name` now, so that periodic work does not pile up.

    A convenience, not a guarantee: the place is given up after `seconds`, whoever holds it and does not `keep` it.
    """
    place = Place(client().lock(f"dc:alone:{name}", timeout=seconds, blocking=False), seconds)
    try:
        yield place
    finally:
        place.leave()
