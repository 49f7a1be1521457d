"""Who is stopped for writing more than his disk, and what it takes to get in again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostagent import disk
from hostagent.disk import CHANCES, CLEANUP_SECONDS, GIB, SLACK_BYTES, DiskWatch, Guard
from hostagent.engine import Engine
from hostagent.journal import Journal
from hostagent.planner import Wish
from hostagent.protocol import ContainerSpec
from hostagent.tests.test_spec import SPEC

LIMIT = 10 * GIB


@dataclass
class Rental:
    id: str
    generation: int = 1
    spec: ContainerSpec | None = SPEC
    wish: Wish = Wish.RUNNING
    woken: list[None] = field(default_factory=list)

    def wake(self) -> None:
        self.woken.append(None)


def test_the_limit_is_its_own_and_one_byte_more_is_over() -> None:
    guard = Guard(LIMIT)
    assert not guard.is_over(LIMIT, 0)
    assert guard.is_over(LIMIT + 1, 1)
    assert guard.stops == 1


def test_whoever_is_started_again_may_clean_up_and_may_not_go_on_writing() -> None:
    guard = Guard(LIMIT, stops=1)
    used = 12 * GIB
    assert not guard.is_over(used, 100)
    assert not guard.is_over(used + SLACK_BYTES, 100 + CLEANUP_SECONDS)
    assert guard.is_over(used + SLACK_BYTES + 1, 200)
    assert guard.stops == 2
    # The next start has ten minutes of its own.
    assert not guard.is_over(used, 5000)
    assert guard.is_over(used, 5001 + CLEANUP_SECONDS)


def test_after_three_chances_a_start_ends_at_the_first_look_and_below_the_limit_all_is_forgotten() -> (
    None
):
    guard = Guard(LIMIT, stops=CHANCES + 1)
    assert guard.is_over(LIMIT + 1, 0)
    assert not guard.is_over(LIMIT, 1)
    assert guard.stops == 0


@pytest.fixture
def watch(tmp_path: Path) -> DiskWatch:
    return DiskWatch(Engine("n"), Journal(tmp_path / "journal.json"), tmp_path)


def test_one_that_is_over_fails_with_words_and_its_neighbour_goes_on(
    watch: DiskWatch, tmp_path: Path
) -> None:
    full, other, gone = Rental("full"), Rental("other"), Rental("gone", spec=None)
    size = SPEC.resource_limits.disk_gb * GIB
    sizes = {
        ("full", 1): size + GIB,
        ("other", 1): size,
        ("gone", 1): size * 9,
        ("old", 1): size * 9,
    }
    watch.judge(sizes, [full, other, gone])
    code, words = watch.journal.failure("full", 1) or ("", "")
    assert code == "disk_full"
    assert words.startswith(
        "It has written 51.0 GiB, and its disk is 50 GiB. Start it again: it then has 10"
    )
    assert (len(full.woken), other.woken, gone.woken) == (1, [], [])
    assert watch.journal.failure("other", 1) is None
    # Known to the agent that comes after this one, and forgotten with the workload.
    kept = Journal(tmp_path / "journal.json")
    assert (kept.disk_stops("full", 1), kept.disk_stops("full", 2)) == (1, 0)
    watch.journal.forget_failure("full")
    watch.judge({("full", 1): size}, [full])
    assert watch.journal.disk_stops("full", 1) == 0


def test_one_that_is_seen_again_while_it_stops_loses_no_chance_and_has_its_ten_minutes_later(
    watch: DiskWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, full = 1000.0, Rental("full")
    monkeypatch.setattr("time.monotonic", lambda: now)
    sizes = {("full", 1): SPEC.resource_limits.disk_gb * GIB + GIB}
    watch.judge(sizes, [full])
    for _ in range(3):
        now += 5
        sizes["full", 1] += GIB
        watch.judge(sizes, [full])
    assert (watch.journal.disk_stops("full", 1), len(full.woken)) == (1, 1)
    # The platform wishes it stopped, which forgets the failure; nothing new is written down about it.
    watch.journal.forget_failure("full")
    full.wish = Wish.STOPPED
    watch.judge(sizes, [full])
    assert watch.journal.failure("full", 1) is None
    full.wish, now = Wish.RUNNING, now + 3 * CLEANUP_SECONDS
    watch.judge(sizes, [full])
    now += CLEANUP_SECONDS
    watch.judge(sizes, [full])
    assert watch.journal.failure("full", 1) is None
    now += 1
    watch.judge(sizes, [full])
    assert watch.journal.disk_stops("full", 1) == 2


def test_who_did_not_delete_anything_reads_so(watch: DiskWatch) -> None:
    full = Rental("full")
    watch.journal.note_disk_stops("full", 1, CHANCES)
    used = SPEC.resource_limits.disk_gb * GIB + 1
    watch.judge({("full", 1): used}, [full])
    assert not full.woken
    watch.judge({("full", 1): used + SLACK_BYTES + 1}, [full])
    assert "and did not" in (watch.journal.failure("full", 1) or ("", ""))[1]


def test_containers_are_measured_when_much_has_been_written_and_once_in_a_minute(
    watch: DiskWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, free = 1000.0, [100 * GIB]

    class Stat:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free[0]

    monkeypatch.setattr("os.statvfs", lambda _: Stat())
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert watch._is_due()
    assert not watch._is_due()
    free[0] -= disk.GONE_BYTES
    assert watch._is_due()
    assert not watch._is_due()
    now += disk.MEASURE_SECONDS
    assert watch._is_due()


def test_where_the_engines_files_cannot_be_seen_the_clock_decides(tmp_path: Path) -> None:
    watch = DiskWatch(Engine("n"), Journal(tmp_path / "journal.json"), tmp_path / "elsewhere")
    assert watch._is_due()
    assert not watch._is_due()
