"""The clock's tick, the hourly roll-up and single postings, each beside the barest way to do the same.

Rentals are rows: R rentals, both meters running, R/2 wallets, R/20 hosts. The floor of the roll-up is one
INSERT of the same transfers into a table with its primary and its unique key and nothing else, and one UPDATE
each of the same meters and wallets. The floor of posting is pgbench's simple update; ours is the INSERT in which
every operation on money ends, from the same program.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from bench._harness import platform_database, report, seconds
from billing import services
from billing.models import Transfer
from core import clock
from deploy.local import engines
from tests.databases import OwnPostgres

SIZES = (1_000, 10_000, 100_000)
TICKS = 200
CLIENTS = 8
TURNS, POSTING_SECONDS = 7, 2

RENTALS = """
    ALTER TABLE billing_transfer DISABLE TRIGGER USER;
    ALTER TABLE billing_account DISABLE TRIGGER USER;
    ALTER TABLE billing_meter DISABLE TRIGGER USER;
    TRUNCATE billing_account, billing_meter, billing_transfer, billing_hold CASCADE;
    ALTER TABLE billing_transfer ENABLE TRIGGER USER;
    INSERT INTO billing_account (id, kind, currency, balance, held, burn, asof, frozen)
    VALUES (1, 'platform', '{currency}', 0, 0, 0, {asof}, false),
           (2, 'gateway', '{currency}', 0, 0, 0, {asof}, false);
    INSERT INTO billing_account (id, kind, owner_id, currency, floor, balance, held, burn, asof, frozen)
    SELECT 2 + n, 'host', gen_random_uuid(), '{currency}', 0, 0, 0, 0, {asof}, false
    FROM generate_series(1, {hosts}) n;
    INSERT INTO billing_account
        (id, kind, owner_id, currency, floor, balance, held, burn, asof, runs_out, frozen)
    SELECT 1000000 + n, 'wallet', gen_random_uuid(), '{currency}', 0, 1000000000000, 0, 2 * 14279, {asof},
           {asof} + 1000000000000 / (2 * 14279), false
    FROM generate_series(1, {wallets}) n;
    INSERT INTO billing_meter
        (id, kind, subject_id, wallet_id, payee_id, rate, payee_rate, started, settled)
    SELECT gen_random_uuid(), kind, gen_random_uuid(), 1000000 + 1 + n % {wallets},
           3 + n % {hosts}, rate, rate - rate / 10, {asof}, {asof}
    FROM generate_series(1, {rentals}) n, (VALUES ('compute', 13890), ('storage', 389)) k (kind, rate);
    DROP TABLE IF EXISTS floor_transfer, floor_meter, floor_account;
    CREATE TABLE floor_transfer (LIKE billing_transfer INCLUDING IDENTITY, PRIMARY KEY (id),
                                 UNIQUE (meter_id, kind, t0));
    CREATE TABLE floor_meter AS SELECT * FROM billing_meter;
    ALTER TABLE floor_meter ADD PRIMARY KEY (id);
    CREATE TABLE floor_account AS SELECT * FROM billing_account;
    ALTER TABLE floor_account ADD PRIMARY KEY (id);
"""
FLOOR = """
    INSERT INTO floor_transfer (group_id, src_id, dst_id, amount, kind, meter_id, t0, t1, created_at)
    SELECT gen_random_uuid(), wallet_id, dst, part * 3600, leg, id, settled, settled + 3600, now()
    FROM floor_meter CROSS JOIN LATERAL
         (VALUES (payee_id, payee_rate, 'share'), (1, rate - payee_rate, 'fee')) AS legs (dst, part, leg);
    UPDATE floor_meter SET settled = settled + 3600;
    UPDATE floor_account SET asof = asof + 3600, balance = balance - 1;
"""
# An operation brings the id of its group along: the server does not open /dev/urandom for it.
ONE_POSTING = """
    \\set src random(1000001, 1000000 + {wallets})
    \\set host random(3, 2 + {hosts})
    \\set group random(1, 1000000000000000000)
    INSERT INTO billing_transfer (group_id, src_id, dst_id, amount, kind, created_at)
    VALUES (lpad(to_hex(:group::bigint), 32, '0')::uuid, :src, {dst}, 1, 'bench', now());
"""


def execute(statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements)


def fill(rentals: int) -> None:
    """Make `rentals` of which nothing has been posted for an hour and the settle horizon."""
    asof = clock.epoch() - 3600 - settings.DC.settle_horizon_seconds
    wallets, hosts = rentals // 2, rentals // 20
    execute(RENTALS.format(
        currency=settings.CURRENCY, asof=asof, wallets=wallets, hosts=hosts, rentals=rentals))  # fmt: skip
    execute_alone("VACUUM ANALYZE")


def empty_transaction() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def tick(rentals: int) -> bool:
    """The tick of every second when nothing expires."""
    pairs = [(seconds(services.sweep_exhausted), seconds(empty_transaction)) for _ in range(TICKS)]
    ours, floor = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    case = f"idle tick, {rentals} live rentals"
    return report("billing", case, ours=ours, floor=floor, unit="ms", must=3, aim=1.5)


def roll_up(rentals: int) -> bool:
    """The hourly roll-up of everything."""
    floor = seconds(lambda: execute(FLOOR))
    ours = seconds(services.roll_up)
    if Transfer.objects.count() != 4 * rentals:
        raise SystemExit("the roll-up did not post every meter once")
    case = f"roll-up of {rentals} rentals"
    return report("billing", case, ours=ours, floor=floor, unit="s", must=4, aim=2)


def execute_alone(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def pgbench(server: OwnPostgres, *words: str) -> float:
    """Return transactions a second of the wheel's own pgbench, for this long, prepared."""
    address = ["-h", str(server.sockets), "-U", engines.DATABASE, engines.DATABASE]
    options = ["-n", "-c", str(CLIENTS), "-j", "2", "-M", "prepared", "-T", str(POSTING_SECONDS)]
    command = [str(engines.postgres_program("pgbench")), *options, *words, *address]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    if found is None:
        raise SystemExit(f"pgbench said no rate: {said}")
    return float(found.group(1))


def posting(server: OwnPostgres, folder: Path, rentals: int) -> list[bool]:
    """Single postings from many clients: spread over all hosts, and all on the platform's account."""
    initialise(server)
    results = []
    for case, dst in (("spread", ":host"), ("one platform account", "1")):
        script = folder / "post.sql"
        script.write_text(ONE_POSTING.format(wallets=rentals // 2, hosts=rentals // 20, dst=dst))
        turns = [(pgbench(server, "-f", str(script)), pgbench(server, "-N")) for _ in range(TURNS)]
        # Other work on the machine hits one turn and not the next: the turn in the middle is told.
        ours, floor = sorted(turns, key=lambda turn: turn[0] / turn[1])[TURNS // 2]
        results.append(report("billing", f"postings, {case}", ours=ours, floor=floor,
                              unit="1/s", must=1.5, aim=2, more_is_better=True))  # fmt: skip
    return results


def initialise(server: OwnPostgres) -> None:
    address = ["-h", str(server.sockets), "-U", engines.DATABASE, engines.DATABASE]
    command = [str(engines.postgres_program("pgbench")), "-i", "-q", "-s", "10", *address]
    subprocess.run(command, check=True, capture_output=True)


def main() -> int:
    results = []
    with platform_database() as server:
        for rentals in SIZES:
            fill(rentals)
            results += [tick(rentals), roll_up(rentals)]
        fill(SIZES[1])
        results += posting(server, server.data.parent, SIZES[1])
        connection.close()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
