"""As many requests as a web server answers over a few connections that stay open."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator

CONNECTIONS = 8
VISITORS = 20_000


def visitors() -> Iterator[str]:
    """Yield addresses of people; each asks seldom enough for the limit of one address."""
    for n in itertools.cycle(range(VISITORS)):
        yield f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"


async def _ask(port: int, paths: Iterator[str], people: Iterator[str], until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.monotonic() < until:
        head = f"GET {next(paths)} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {next(people)}\r\n\r\n"
        writer.write(head.encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise SystemExit(f"the server says {answer[:200]!r}")
        _, _, rest = answer.partition(b"content-length:")
        await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        done += 1
    writer.close()
    return done


def rate(port: int, paths: Iterator[str], people: Iterator[str], seconds: float) -> float:
    """Return how many requests a second are answered with 200."""

    async def all_of_them() -> int:
        until = time.monotonic() + seconds
        asks = [_ask(port, paths, people, until) for _ in range(CONNECTIONS)]
        return sum(await asyncio.gather(*asks))

    began = time.monotonic()
    return asyncio.run(all_of_them()) / (time.monotonic() - began)
