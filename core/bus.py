"""One Redis connection pool a process, for hints that may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import redis
from django.conf import settings


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """Return the process's Redis client."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


@contextmanager
def alone(name: str, *, seconds: float) -> Iterator[bool]:
    """Yield whether nobody else is at `name` now, so that periodic work does not pile up.

    A convenience, not a guarantee: the place is given up after `seconds`, whoever holds it.
    """
    mine = bool(client().set(f"dc:alone:{name}", "1", nx=True, px=int(seconds * 1000)))
    try:
        yield mine
    finally:
        if mine:
            client().delete(f"dc:alone:{name}")
