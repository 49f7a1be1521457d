"""Many offers at once, by one INSERT … SELECT: for the tests of the search and its bench."""

from __future__ import annotations

import uuid

from django.db import connection

from accounts import services as accounts

# Every value follows from the machine's number, so that each run has the same market.
NODES = """
    INSERT INTO nodes_node
        (id, owner_id, name, status, tier, agent_version, facts, checks, cpu_cores, memory_mib, disk_gb,
         country, city, region, gpu_rate, cpu_node_rate, storage_gb_rate, minimum_rate,
         simulated, generation, epoch, draining, tunnel_run_id, tunnel_secret_version, created_at)
    SELECT md5('node' || n)::uuid, %(owner)s, 'machine-' || n, 'online', 'CONSUMER_GPU', '', '{}', '[]',
           8, 16384, 100, '', '', '', 0, 0, 0, 0, false, 0, 0, false, '', 1, now()
    FROM generate_series(1, %(machines)s) n
"""
OFFERS = """
    INSERT INTO nodes_offer
        (id, node_id, listed, hidden_because, tier, gpu_model, gpu_vendor, gpu_total, gpu_free, vram_mib,
         gflops, memory_bandwidth_gbs, compute_capability, cuda, driver, mig, pcie_generation, pcie_lanes,
         cpu_model, cpu_cores, memory_mib, architecture, os, disk_gb, compute_rate, storage_gb_rate,
         minimum_rate, reliability_bp, ready_seconds, region, country, isolation, disk_quota, simulated, updated_at)
    SELECT md5('offer' || n)::uuid, md5('node' || n)::uuid,
           d %% 10 > 0, CASE WHEN d %% 10 > 0 THEN '' ELSE 'offline' END,
           CASE WHEN model > 24 THEN 'HPC' ELSE 'CONSUMER_GPU' END,
           'NVIDIA Card ' || model, 'nvidia', cards, (d / 7) %% (cards + 1),
           (ARRAY[8192, 12288, 16384, 24576, 49152, 81920])[1 + model %% 6],
           CASE WHEN model %% 5 > 0 THEN 5000 + 3300 * model END,
           CASE WHEN model %% 5 > 0 THEN 300 + 90 * model END,
           (ARRAY[750, 800, 860, 890, 900])[1 + model %% 5],
           CASE WHEN d %% 13 > 0 THEN 1180 + 10 * (d %% 11) END, 535000000 + (d %% 40) * 1000000,
           d %% 50 = 0, 3 + d %% 3, (ARRAY[4, 8, 16])[1 + d %% 3],
           'CPU ' || d %% 40, 8 * (1 + d %% 16), 16384 * (1 + d %% 24), 'amd64', 'System ' || d %% 6,
           20 + d %% 2000, 3000 + (model * 4000 + d %% 30000) * (1 + model / 20), 20 + d %% 60,
           CASE WHEN d %% 9 = 0 THEN 90000 ELSE 0 END,
           CASE WHEN d %% 17 > 0 THEN 9000 + d %% 1001 END,
           CASE WHEN d %% 4 > 0 THEN 5 + d %% 120 END,
           (ARRAY['Europe', 'North America', 'Asia', 'South America', ''])[1 + d %% 5],
           (ARRAY['NO', 'DE', 'FR', 'US', 'CA', 'JP', 'SG', 'BR', ''])[1 + d %% 9],
           (ARRAY['runc', 'gvisor', 'sysbox'])[1 + d %% 3], d %% 2 = 0, d %% 100 = 0, now()
    FROM generate_series(1, %(machines)s) n
    CROSS JOIN LATERAL (SELECT abs(hashint4(n)::bigint) AS d) hashed
    CROSS JOIN LATERAL (SELECT 1 + d / 3 %% 30 AS model, (ARRAY[1, 2, 4, 4, 4, 8])[1 + d / 11 %% 6] AS cards) of_it
"""


def fill_market(machines: int) -> int:
    """Make this many machines of one host with 1 to 8 cards each; return how many cards there are."""
    name = f"bob-{uuid.uuid4().hex}"
    bob = accounts.create_user(
        email=f"{name}@example.org", password=uuid.uuid4().hex, role="LEASE", name=name
    )
    asked: dict[str, uuid.UUID | int] = {"owner": bob.pk, "machines": machines}
    with connection.cursor() as cursor:
        cursor.execute(NODES, asked)
        cursor.execute(OFFERS, asked)
        cursor.execute("SELECT coalesce(sum(gpu_total), 0)::bigint FROM nodes_offer")
        return int(cursor.fetchone()[0])
