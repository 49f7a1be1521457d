"""Cards of machines: eight workers click the same 200 machines, then take and give back on four and on many machines.

Ours is what a rent does to a machine: its lock, a workload, the allocation and the offer. The floor is the same on
bare tables: a counter on the node that goes down, a row for each card under a partial unique index, and back.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import msgspec
from django.db import connection, transaction

from bench._crowd import Timer, crowd, p99
from bench._harness import platform_database, report

# isort: split
# The set-up comes first.
from accounts.actors import Actor
from core import clock
from core.errors import Conflict
from nodes import services as nodes
from nodes.machine import NodeStatus
from nodes.models import Gpu, GpuAllocation, Node, Workload
from nodes.services.capacity import lock_rentable
from tests import cast

WORKERS, RACES, CARDS = 8, 200, 8
HOT, MANY, SECONDS = 4, 400, 4.0
SIZES = (1, 1, 2, 4, 8)
SYSTEM = Actor.system()
BARE = """
    DROP TABLE IF EXISTS bare_node, bare_hold;
    CREATE TABLE bare_node (id int PRIMARY KEY, free int CHECK (free >= 0)) WITH (fillfactor = 70);
    CREATE TABLE bare_hold (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node int, card int,
                            owner bigint, released_at timestamptz);
    CREATE UNIQUE INDEX ON bare_hold (node, card) WHERE released_at IS NULL;
    CREATE INDEX ON bare_hold (owner);
    INSERT INTO bare_node SELECT n, {cards} FROM generate_series(0, {nodes} - 1) n;
    ANALYZE bare_node;
"""
BARE_TAKE = "UPDATE bare_node SET free = free - %s WHERE id = %s AND free >= %s"
BARE_CARDS = """
    INSERT INTO bare_hold (node, card, owner)
    SELECT %(node)s, c, %(owner)s FROM generate_series(1, 8) c WHERE NOT EXISTS (
        SELECT 1 FROM bare_hold h WHERE h.node = %(node)s AND h.card = c AND released_at IS NULL)
    LIMIT %(count)s
"""
BARE_GIVE = "UPDATE bare_hold SET released_at = now() WHERE owner = %s"
BARE_BACK = "UPDATE bare_node SET free = free + %s WHERE id = %s"


def machines(count: int, cards: int) -> list[Node]:
    """Make machines that can take work, with their cards."""
    bob, now = cast.person("bob"), clock.now()
    made = Node.objects.bulk_create(
        Node(
            owner_id=bob.user_id, name=f"atlas-{n}", status=NodeStatus.ONLINE.value, cpu_cores=64,
            memory_mib=262_144, disk_gb=1_000_000, tier="CONSUMER_GPU", created_at=now,
        )
        for n in range(count)
    )  # fmt: skip
    Gpu.objects.bulk_create(
        Gpu(
            node=node, uuid=card.uuid, index=card.index, model=card.model, vram_mib=card.vram_mib,
            details=msgspec.to_builtins(card),
        )
        for node in made
        for card in cast.facts(gpus=cards).gpus
    )  # fmt: skip
    return made


class FalseRefusal(Exception):
    """A machine was refused although what was asked for was free."""


def take(node: Node, cards: int) -> Workload:
    """Do to a machine what a rent does. Raises Conflict `offer_taken`, FalseRefusal."""
    with transaction.atomic():
        try:
            return _take(node, cards)
        except Conflict as refused:
            # Still under the machine's lock: nobody has given anything back since.
            Node.objects.lock().get(pk=node.pk)
            held = GpuAllocation.objects.filter(gpu__node=node, released_at=None).count()
            if Gpu.objects.filter(node=node).count() - held >= cards:
                raise FalseRefusal(str(node.pk)) from refused
            raise


def _take(node: Node, cards: int) -> Workload:
    locked = lock_rentable(node.pk)
    workload = nodes.create_workload(actor=SYSTEM, node=locked, subject_id=node.pk, spec={}, env={})
    nodes.allocate(node=locked, workload=workload, gpu_count=cards, disk_gb=1)
    return workload


def give_back(node: Node, workload: Workload) -> None:
    """Do to a machine what the end of a rental does, once its agent has said that all is gone."""
    with transaction.atomic():
        locked = Node.objects.lock().get(pk=node.pk)
        Workload.objects.filter(pk=workload.pk).update(wish="absent", observed_state="absent")
        nodes.release_allocation(node=locked, workload=workload)


def race(wanted: list[Node]) -> tuple[list[int], list[float]]:
    """Click every machine once, in the same order as everybody; return which were won, and the times."""
    timer, won = Timer(), []
    for number, node in enumerate(wanted):
        with timer():
            try:
                take(node, 1)
            except Conflict:
                continue
            won.append(number)
    return won, timer.took


def bare_race(count: int) -> list[float]:
    timer = Timer()
    for number in range(count):
        with timer():
            _bare_take(number, 1, number)
    return timer.took


def _bare_take(node: int, cards: int, owner: int) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BARE_TAKE, [cards, node, cards])
        if not cursor.rowcount:
            return False
        cursor.execute(BARE_CARDS, {"node": node, "owner": owner, "count": cards})
        return True


def ours(wanted: list[Node], number: int) -> list[float]:
    """Take and give back for a while; return the times."""
    dice, timer = random.Random(number), Timer()
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        node, cards = dice.choice(wanted), dice.choice(SIZES)
        with timer():
            try:
                workload = take(node, cards)
            except Conflict:
                continue
            give_back(node, workload)
    return timer.took


def bare(count: int, number: int) -> list[float]:
    dice, timer = random.Random(number), Timer()
    until, owner = time.perf_counter() + SECONDS, number * 10**9
    while time.perf_counter() < until:
        node, cards, owner = dice.randrange(count), dice.choice(SIZES), owner + 1
        with timer():
            if not _bare_take(node, cards, owner):
                continue
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(BARE_GIVE, [owner])
                cursor.execute(BARE_BACK, [cards, node])
    return timer.took


def clean(count: int, cards: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BARE.format(nodes=count, cards=cards))


def the_race() -> list[bool]:
    wanted = machines(RACES, 1)
    clean(RACES, 1)
    found = crowd(lambda _: race(wanted), WORKERS)
    floor = [took for each in crowd(lambda _: bare_race(RACES), WORKERS) for took in each]
    winners = Counter(number for won, _ in found for number in won)
    twice = GpuAllocation.objects.filter(released_at=None).count() - len(winners)
    if twice or any(times > 1 for times in winners.values()):
        raise SystemExit("a machine was won twice")
    mine = p99([took for _, each in found for took in each])
    return [
        report("allocations", f"{RACES} machines, {WORKERS} clicks each: winners", ours=len(winners),
               floor=RACES, unit="winners", must=1, aim=1, more_is_better=True),
        report("allocations", f"{RACES} machines, {WORKERS} clicks each: p99", ours=mine, floor=p99(floor),
               unit="ms", aim=25, by="ours"),
    ]  # fmt: skip


def steady(count: int) -> list[bool]:
    wanted = machines(count, CARDS)
    clean(count, CARDS)
    found = crowd(lambda number: ours(wanted, number), WORKERS)
    floor = [took for each in crowd(lambda number: bare(count, number), WORKERS) for took in each]
    took = [one for each in found for one in each]
    if GpuAllocation.objects.filter(allocation__node__in=wanted, released_at=None).exists():
        raise SystemExit("cards are still held")
    case = f"take and give back on {count} machines of {CARDS} cards"
    return [
        report("allocations", case, ours=len(took) / SECONDS, floor=len(floor) / SECONDS, unit="1/s",
               more_is_better=True),
        report("allocations", f"{case}: p99", ours=p99(took), floor=p99(floor), unit="ms"),
    ]  # fmt: skip


def main() -> int:
    with platform_database():
        results = [*the_race(), *steady(HOT), *steady(MANY)]
        connection.close()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
