"""One Redis connection pool a process, for hints that may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

import redis
from django.conf import settings
from redis.exceptions import LockError


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """Return the process's Redis client."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


@contextmanager
def alone(name: str, *, seconds: float) -> Iterator[bool]:
    """Yield whether nobody else is at `name` now, so that periodic work does not pile up.

    A convenience, not a guarantee: the place is given up after `seconds`, whoever holds it.
    """
    place = client().lock(f"dc:alone:{name}", timeout=seconds, blocking=False)
    mine = place.acquire()
    try:
        yield mine
    finally:
        if mine:
            # Whoever took longer leaves the place to whom has it now.
            with suppress(LockError):
                place.release()
