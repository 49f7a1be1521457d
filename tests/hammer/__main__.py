"""`python -m tests.hammer --runs 10 --operations 200`: kill writers, judge, print one JSON line a run.

Each run has a world of its own in one database of its own. In the last run PostgreSQL is stopped at once, too.
The controller itself never opens Django's connections: everything that does is a child that may die.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import django
import psycopg
from psycopg.errors import DeadlockDetected

from deploy.local import engines
from tests.databases import OwnPostgres, environment, own_folder, own_postgres, sockets_of

# A day passes in four minutes, so what people wait for has to last longer than usual.
PATIENT = {
    "DC_QUOTE_SECONDS": "3600",
    "DC_RESERVE_DEADLINE_SECONDS": "4000",
    "DC_PULL_DEADLINE_SECONDS": "4000",
    "DC_START_DEADLINE_SECONDS": "4000",
    "DC_LOG_LEVEL": "CRITICAL",
    "DC_REDIS_URL": f"unix://{own_folder()}/r/s/redis.sock",
}
os.environ.update(environment(engines.database_url(sockets_of(own_folder()))) | PATIENT)
django.setup()

from django.core.management import call_command  # noqa: E402  # the set-up comes first
from django.db import InterfaceError, OperationalError, connection, connections  # noqa: E402

from core import outbox  # noqa: E402
from tests.hammer.judging import judge  # noqa: E402
from tests.hammer.operations import KEYED, MONEY, Plan, Writer  # noqa: E402
from tests.hammer.world import World, hurry  # noqa: E402

WRITERS = 5


def child(work: Callable[[], object], database: str = engines.DATABASE) -> int:
    """Do it on a database in a process of its own; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        connection.settings_dict["NAME"] = database
        # Nobody works here but the writers.
        outbox.set_hint(lambda: None)
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        hurry()
        work()
        code = 0
    except BaseException:  # the outer loop of a process: it says why and ends
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def alone(work: Callable[[], object], database: str = engines.DATABASE) -> None:
    """Do it on a database in a process of its own and wait for it."""
    _, status = os.waitpid(child(work, database), 0)
    if status:
        raise SystemExit("a step that nobody killed has failed")


class Journal:
    """What one writer after the other planned and was answered: a line each, written before and after the deed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **line: object) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> tuple[list[Plan], list[tuple[Plan, str]]]:
        """Return what is not answered yet, and what is."""
        waiting: list[Plan] = []
        answered = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            entry = json.loads(line)
            if "plan" in entry:
                waiting = [entry["plan"]]
            else:
                answered.append((waiting.pop(), entry["answer"]))
        return waiting, answered


def write(world: World, journal: Journal, seed: int, stop: Path) -> None:
    """Be a writer until somebody says stop: first what a dead one left, then what the dice say."""
    writer = Writer(world, random.Random(seed))
    waiting, _ = journal.read()
    plans = [plan for plan in waiting if plan["op"] in KEYED]
    while plans or not stop.exists():
        try:
            plan = plans.pop() if plans else writer.plan()
            journal.write(plan=plan)
            journal.write(answer=writer.do(plan))
        except (OperationalError, InterfaceError) as error:
            # The database went away: what has a key is asked again, when it is back.
            if isinstance(error.__cause__, DeadlockDetected):
                raise
            plans = [plan for plan in journal.read()[0] if plan["op"] in KEYED]
            connections.close_all()
            time.sleep(0.1)


class Run:
    """One hammering."""

    def __init__(self, server: OwnPostgres, folder: Path, operations: int, seed: int) -> None:
        self.server, self.folder, self.operations = server, folder, operations
        self.dice, self.seed = random.Random(seed), seed
        self.database = f"run{seed}"
        self.journals = [Journal(folder / f"journal-{i}") for i in range(WRITERS)]
        self.stop = folder / "stop"
        self.kills = self.restarts = self.deadlocks = 0

    def hammer(self, *, stop_database: bool) -> dict[str, object]:
        """Write, kill, judge; return what came of it."""
        kept, began = self.folder / "world.json", time.monotonic()
        with psycopg.connect(self.server.url, autocommit=True) as connection_:
            connection_.execute(f"CREATE DATABASE {self.database} TEMPLATE {engines.DATABASE}")
        alone(lambda: World.made().save(kept), self.database)
        world = World.load(kept)
        before = self._deadlocks()
        self._kill_until_enough(world, stop_database)
        self.deadlocks += self._deadlocks() - (0 if stop_database else before)
        told = {
            plan["key"]: (plan, answer)
            for journal in self.journals
            for plan, answer in journal.read()[1]
        }
        verdict = self.folder / "verdict.json"
        alone(
            lambda: verdict.write_text(json.dumps(judge(world, told, self.deadlocks))),
            self.database,
        )
        outcomes = Counter(f"{plan['op']}: {answer.split()[0]}" for plan, answer in told.values())
        return {
            "hammer": self.seed, "operations": self._done(), "all": len(told), "kills": self.kills,
            "database_stops": self.restarts, "deadlocks": self.deadlocks,
            "refused": sum("refused" in answer for _, answer in told.values()),
            "outcomes": dict(sorted(outcomes.items())),
            "seconds": round(time.monotonic() - began, 1), "wrong": json.loads(verdict.read_text()),
        }  # fmt: skip

    def _done(self) -> int:
        answers = [each for journal in self.journals for each in journal.read()[1]]
        return sum(plan["op"] in MONEY for plan, _ in answers)

    def _start(self, world: World, slot: int) -> int:
        seed = self.dice.getrandbits(60)
        return child(lambda: write(world, self.journals[slot], seed, self.stop), self.database)

    def _kill_until_enough(self, world: World, stop_database: bool) -> None:
        slots = {slot: self._start(world, slot) for slot in range(WRITERS)}
        try:
            # A run that should see the database stop goes on until it has.
            while (done := self._done()) < self.operations or (stop_database and not self.restarts):
                time.sleep(self.dice.uniform(0.05, 0.6))
                slot = self.dice.randrange(WRITERS)
                self._kill(slots.pop(slot))
                if stop_database and done > self.operations // 2 and not self.restarts:
                    self.deadlocks += self._deadlocks()
                    self.server.restart_at_once()
                    self.restarts += 1
                slots[slot] = self._start(world, slot)
            self.stop.touch()
            while slots:
                _, status = os.waitpid(slots.popitem()[1], 0)
                if status:
                    raise SystemExit("a writer ended by itself")
        finally:
            for pid in slots.values():
                os.kill(pid, signal.SIGKILL)

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a writer ended by itself")
        self.kills += 1

    def _deadlocks(self) -> int:
        with psycopg.connect(self.server.url) as connection_:
            row = connection_.execute("SELECT SUM(deadlocks) FROM pg_stat_database").fetchone()
        return int(row[0]) if row else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hammer")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    arguments = parser.parse_args()
    with own_postgres() as server, tempfile.TemporaryDirectory() as name:
        redis = server.data.parent / "r"
        engines.start_redis(redis)
        try:
            alone(lambda: call_command("migrate", verbosity=0))
            results = [
                one(server, Path(name), arguments, number) for number in range(arguments.runs)
            ]
        finally:
            engines.stop_redis(redis)
    return 1 if any(results) else 0


def one(server: OwnPostgres, home: Path, arguments: argparse.Namespace, number: int) -> bool:
    """Hammer once and say what came of it; True when something is wrong."""
    folder = home / str(number)
    folder.mkdir()
    run = Run(server, folder, arguments.operations, arguments.seed + number)
    result = run.hammer(stop_database=number == arguments.runs - 1)
    print(json.dumps(result), flush=True)
    return bool(result["wrong"])


if __name__ == "__main__":
    sys.exit(main())
