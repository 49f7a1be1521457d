"""Lanes: what waits, what fails, and what the reader is told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from deploy.local.lanes import Board, Lane, LaneError


def test_a_lane_waits_until_another_has_reached_the_milestone(tmp_path: Path) -> None:
    seen: list[str] = []

    def later(lane: Lane) -> str:
        lane.wait_for("tools")
        seen.append("later")
        return "done"

    def first(lane: Lane) -> str:
        seen.append("first")
        lane.reach("tools")
        return "done"

    Board(tmp_path, "title").run([Lane("later", later), Lane("first", first)])
    assert seen == ["first", "later"]


def test_a_failing_lane_says_the_last_words_of_its_command_and_where_the_rest_is(
    tmp_path: Path,
) -> None:
    def work(lane: Lane) -> str:
        lane.run(["sh", "-c", "echo first; echo no such package >&2; exit 7"])
        return "never"

    with pytest.raises(LaneError) as refused:
        Board(tmp_path, "title").run([Lane("apt", work)])
    told = str(refused.value)
    assert told.startswith("apt: `sh -c")
    assert "ended with 7" in told
    assert "no such package" in told
    assert str(tmp_path / "apt.log") in told


def test_a_failure_stops_the_commands_of_the_other_lanes(tmp_path: Path) -> None:
    running = threading.Event()

    def long(lane: Lane) -> str:
        running.set()
        lane.run(["sleep", "60"])
        return "never"

    def fails(lane: Lane) -> str:
        running.wait(10)
        raise LaneError("there is no disk left")

    lanes = [Lane("long", long), Lane("fails", fails)]
    began = time.monotonic()
    with pytest.raises(LaneError, match="fails: there is no disk left"):
        Board(tmp_path, "title").run(lanes)
    assert time.monotonic() - began < 10
    assert [lane.state for lane in lanes] == ["stopped", "failed"]


def test_a_lane_that_waits_for_nothing_any_more_ends_with_the_others(tmp_path: Path) -> None:
    def waits(lane: Lane) -> str:
        lane.wait_for("never reached")
        return "never"

    def fails(lane: Lane) -> str:
        raise LaneError("no network")

    with pytest.raises(LaneError, match="fails: no network"):
        Board(tmp_path, "title").run([Lane("waits", waits), Lane("fails", fails)])
