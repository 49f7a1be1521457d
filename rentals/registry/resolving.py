"""Where names lead: asked in few threads, of which one person can hold fewer.

The system's resolver has no time limit of its own and cannot be stopped. Who waits for it gives up in time;
the thread comes back when the resolver does, and until then it counts against whoever asked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from rentals.registry.troubles import busy

MOST_LOOKUPS = 32
MOST_OF_ONE = 2
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_threads = ThreadPoolExecutor(max_workers=MOST_LOOKUPS, thread_name_prefix="resolve")
_held: Counter[str] = Counter()
_free = threading.Condition()


def resolve(host: str, port: int, seconds: float, asker: str = "") -> list[Address]:
    """Return the addresses of a host, asked for `asker`, within `seconds`.

    Raises httpcore.ConnectError when there is none in time, RegistryTrouble `registry_busy` when this asker's, or all,
    threads still wait for other names.
    """
    until = time.monotonic() + seconds
    with _free:
        if not _free.wait_for(lambda: _has_room(asker), seconds):
            raise busy()
        _held[asker] += 1
    asked = _threads.submit(_look, host, port, asker)
    try:
        found = asked.result(max(0.0, until - time.monotonic()))
    except (OSError, UnicodeError, TimeoutError) as error:
        raise httpcore.ConnectError("its name is not known") from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _has_room(asker: str) -> bool:
    return _held[asker] < MOST_OF_ONE and _held.total() < MOST_LOOKUPS


def _look(host: str, port: int, asker: str) -> list[Any]:
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    finally:
        with _free:
            _held[asker] -= 1
            if not _held[asker]:
                del _held[asker]
            _free.notify_all()
