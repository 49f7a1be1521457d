"""Idle is what readings say, and what was sent is counted across starts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hostagent.load import IDLE_READINGS, SENT_STEP, Load, Usage


def read(load: Load, cpu: Sequence[float], cards: Sequence[float | None] = ()) -> Load:
    for n, seconds in enumerate(cpu):
        load.read(Usage(at=15.0 * n, cpu_seconds=seconds, sent_bytes=0), cards)
    return load


QUIET = [0.01 * n for n in range(IDLE_READINGS + 1)]


def test_a_container_that_does_next_to_nothing_for_four_readings_is_idle() -> None:
    assert not read(Load(), QUIET[:-1]).idle
    assert read(Load(), QUIET).idle


@pytest.mark.parametrize("cards", [(0.0, 6.0), (None,)])
def test_a_busy_card_or_one_that_tells_nothing_is_no_idleness(
    cards: Sequence[float | None],
) -> None:
    assert not read(Load(), QUIET, cards).idle
    assert read(Load(), QUIET, (0.0, 5.0)).idle


def test_one_busy_reading_ends_it_and_so_does_a_start() -> None:
    load = read(Load(), QUIET)
    load.read(Usage(at=90, cpu_seconds=QUIET[-1] + 30 * 0.06, sent_bytes=0), ())
    assert not load.idle
    load = read(Load(), QUIET)
    load.read(Usage(at=90, cpu_seconds=0.0, sent_bytes=0), ())
    assert not load.idle


def test_what_was_sent_is_counted_in_steps_across_starts_and_restarts_of_the_agent() -> None:
    load = Load(SENT_STEP, 9 * SENT_STEP)
    load.read(Usage(at=0, cpu_seconds=5, sent_bytes=9 * SENT_STEP), ())
    assert load.sent_bytes == SENT_STEP
    load.read(Usage(at=15, cpu_seconds=6, sent_bytes=10 * SENT_STEP + SENT_STEP // 2), ())
    assert load.sent_bytes == 2 * SENT_STEP
    assert load.memory == (2 * SENT_STEP + SENT_STEP // 2, 10 * SENT_STEP + SENT_STEP // 2)
    load.read(Usage(at=30, cpu_seconds=0, sent_bytes=SENT_STEP // 2), ())
    assert load.sent_bytes == 3 * SENT_STEP
    # A start that this agent slept through, and one that nobody had read before.
    assert read_once(Load(5 * SENT_STEP, 7 * SENT_STEP), SENT_STEP) == 6 * SENT_STEP
    assert read_once(Load(), SENT_STEP) == SENT_STEP


def read_once(load: Load, sent_bytes: int) -> int:
    load.read(Usage(at=0, cpu_seconds=1, sent_bytes=sent_bytes), ())
    return load.sent_bytes
