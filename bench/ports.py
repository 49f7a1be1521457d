"""Public ports: eight workers lease four each and give four back, from a pool that is 10 % and one that is 99 % full.

Ours is what a rent and a reconciled release do, through the ORM; the bare floor is the same two transactions as
two prepared statements on a table with nothing else on it.
"""

from __future__ import annotations

import sys
import time
from collections import deque

from django.db import connection, transaction

from bench._crowd import Timer, crowd, p99
from bench._harness import platform_database, report
from core import clock
from core.errors import Conflict
from nodes import services as nodes
from nodes.models import Node, PortLease, Workload
from tests import cast

POOL, EACH, WORKERS, SECONDS, TURNS = 40_000, 4, 8, 2.0, 5
FIRST = 20_000
WORKLOADS = 40
INNER = list(range(1, EACH + 1))
BARE = """
    DROP TABLE IF EXISTS bare_port;
    CREATE TABLE bare_port (port int PRIMARY KEY, owner int, free_at timestamptz) WITH (fillfactor = 60);
    INSERT INTO bare_port SELECT n, CASE WHEN n <= {leased} THEN -1 END, now() FROM generate_series(1, {pool}) n;
    CREATE INDEX ON bare_port (free_at) WHERE owner IS NULL;
    ANALYZE bare_port;
"""
BARE_LEASE = """
    UPDATE bare_port p SET owner = %s, free_at = NULL FROM (
        SELECT port FROM bare_port WHERE owner IS NULL AND free_at <= now() ORDER BY free_at
        LIMIT 4 FOR UPDATE SKIP LOCKED) f WHERE p.port = f.port
"""
BARE_RELEASE = "UPDATE bare_port SET owner = NULL, free_at = now() WHERE owner = %s"


def execute(statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements)


def prepare() -> list[list[Workload]]:
    """Make a pool, and workloads for every worker; return the workers' workloads."""
    cast.proxy_server(first=FIRST, count=POOL)
    bob = cast.person("bob")
    node = Node.objects.create(owner_id=bob.user_id, name="atlas", created_at=clock.now())
    made = Workload.objects.bulk_create(
        Workload(
            node=node, subject_id=node.pk, wish="running", node_generation=0, spec={}, sealed_env="",
            created_at=clock.now(),
        )
        for _ in range(1 + WORKERS * WORKLOADS)
    )  # fmt: skip
    return [[made[0]], *(made[1 + i * WORKLOADS : 1 + (i + 1) * WORKLOADS] for i in range(WORKERS))]


def fill(percent: int, holder: Workload) -> None:
    """Let `percent` of the pool be leased by somebody who stays."""
    leased = POOL * percent // 100
    free = PortLease.objects.filter(port__gte=FIRST + leased)
    free.update(workload=None, container_port=None, released_at=None, free_at=clock.now())
    PortLease.objects.filter(port__lt=FIRST + leased).update(
        workload=holder, container_port=22, released_at=None, free_at=None
    )
    execute(BARE.format(leased=leased, pool=POOL))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE nodes_portlease")


def ours(mine: list[Workload]) -> tuple[int, list[float]]:
    """Lease and release for a while; return how often, and how long each lease took."""
    timer, held, idle = Timer(), deque[Workload](), deque(mine)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        workload = idle.popleft()
        with timer(), transaction.atomic():
            leases = nodes.lease_ports(workload=workload, container_ports=INNER)
        if len(leases) != EACH:
            raise Conflict("ports_exhausted", "fewer ports than asked for")
        held.append(workload)
        if len(held) > 2:
            gone = held.popleft()
            PortLease.objects.filter(workload=gone).update(
                workload=None, container_port=None, released_at=None, free_at=clock.now()
            )
            idle.append(gone)
    for workload in held:
        PortLease.objects.filter(workload=workload).update(
            workload=None, container_port=None, released_at=None, free_at=clock.now()
        )
    return len(timer.took), timer.took


def bare(number: int) -> int:
    """Do it with two statements; return how often."""
    done, held = 0, deque[int]()
    until = time.perf_counter() + SECONDS
    with connection.cursor() as cursor:
        while time.perf_counter() < until:
            owner = number * 1_000_000 + done
            cursor.execute(BARE_LEASE, [owner])
            held.append(owner)
            done += 1
            if len(held) > 2:
                cursor.execute(BARE_RELEASE, [held.popleft()])
        for owner in held:
            cursor.execute(BARE_RELEASE, [owner])
    return done


def measure(percent: int, people: list[list[Workload]]) -> tuple[float, float, float]:
    """Return (ours/s, bare/s, ms that one lease in a hundred exceeds)."""
    fill(percent, people[0][0])
    found = crowd(lambda number: ours(people[1 + number]), WORKERS)
    mine, took = sum(n for n, _ in found), [t for _, each in found for t in each]
    floor = sum(crowd(bare, WORKERS))
    wrong = PortLease.objects.exclude(workload=None).exclude(workload=people[0][0]).count()
    if wrong:
        raise SystemExit(f"{wrong} ports were not given back")
    return mine / SECONDS, floor / SECONDS, p99(took)


def main() -> int:
    with platform_database():
        people = prepare()
        turns = [(measure(10, people), measure(99, people)) for _ in range(TURNS)]
        connection.close()
    # Other work on the machine hits one turn and not the next: the turn in the middle is told.
    tenth, full = sorted(turns, key=lambda turn: turn[1][0] / turn[0][0])[TURNS // 2]
    lines = [
        report("ports", "leases of 4 from a pool that is 99 % full, beside 10 %", ours=full[0], floor=tenth[0],
               unit="1/s", must=0.9, aim=1, more_is_better=True),
        report("ports", "leases of 4 at 99 %, beside the bare statements", ours=full[0], floor=full[1],
               unit="1/s", more_is_better=True),
        report("ports", "p99 of a lease at 99 %, beside 10 %", ours=full[2], floor=tenth[2], unit="ms",
               must=1.5, aim=1),
    ]  # fmt: skip
    return 0 if all(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
