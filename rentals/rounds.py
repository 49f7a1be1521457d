"""A round of looks at many things: a bounded number at once, in order, held to a deadline."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from core import clock

S = TypeVar("S")
T = TypeVar("T")
Still = Callable[[], bool]

LOOKS_AT_ONCE = 64
# So many may be begun before their result is taken: a slow one holds up none of the others.
LOOKS_AHEAD = 4 * LOOKS_AT_ONCE


@dataclass(frozen=True)
class Look(Generic[S, T]):
    """What was found of a subject by a look that began at an instant."""

    subject: S
    found: T
    at: dt.datetime


def always() -> bool:
    """Say that a round may go on."""
    return True


def looked_at(
    subjects: Iterable[S], look: Callable[[S], T], *, seconds: float
) -> Iterator[Look[S, T]]:
    """Yield each look in the order of the subjects; after `seconds` no more are begun."""
    deadline = time.monotonic() + seconds
    left = iter(subjects)
    begun: deque[Future[Look[S, T]]] = deque()

    def timed(subject: S) -> Look[S, T]:
        at = clock.now()
        return Look(subject, look(subject), at)

    pool = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="looks")
    try:
        begun.extend(pool.submit(timed, subject) for subject in islice(left, LOOKS_AHEAD))
        while begun:
            yield begun.popleft().result()
            if time.monotonic() < deadline:
                begun.extend(pool.submit(timed, subject) for subject in islice(left, 1))
    finally:
        pool.shutdown(cancel_futures=True)
