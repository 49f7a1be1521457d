"""kill -9 of whoever writes money, again and again, and an immediate stop of PostgreSQL: the books stay right.

`DISTRIBUTEDCOMPUTE_HAMMERINGS` says how many runs of 200 operations (`./run test hammer`: ten); without it
two short ones are made. Each prints its seed, what it did, and what is wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.timeout(3600)
def test_killed_writers_and_a_stopped_database_leave_the_books_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = os.environ.get("DISTRIBUTEDCOMPUTE_HAMMERINGS")
    runs, operations = (many, "200") if many else ("2", "40")
    words = ["-m", "tests.hammer", "--runs", runs, "--operations", operations]
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=False)
    with capsys.disabled():
        print(f"\n{done.stdout}", end="", flush=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["wrong"] for result in results] == [[] for _ in range(int(runs))]
    assert all(result["kills"] and not result["deadlocks"] for result in results)
    assert results[-1]["database_stops"] == 1
    assert done.returncode == 0
