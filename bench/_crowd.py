"""Many processes that begin at the same instant, each with a connection of its own."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, connections

T = TypeVar("T")


def crowd(work: Callable[[int], T], count: int) -> list[T]:
    """Let `count` processes do work(0), work(1) ... at the same time; return what each returned."""
    # A pool does not survive a fork.
    connections.close_all()
    connection.close_pool()  # type: ignore[attr-defined]
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(count), context.SimpleQueue()

    def one(number: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        start.wait()
        try:
            answers.put((number, work(number)))
        except BaseException as error:
            answers.put((number, error))
            raise

    people = [context.Process(target=one, args=(number,)) for number in range(count)]
    for person in people:
        person.start()
    found = dict(answers.get() for _ in people)
    for person in people:
        person.join()
    if broken := [each for each in found.values() if isinstance(each, BaseException)]:
        raise broken[0]
    return [found[number] for number in range(count)]


class Timer:
    """How long each of many works took, in seconds."""

    def __init__(self) -> None:
        self.took: list[float] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took.append(time.perf_counter() - began)


def p99(took: list[float]) -> float:
    """Return the time (ms) that one in a hundred exceeds."""
    return statistics.quantiles(took, n=100)[98] * 1e3
