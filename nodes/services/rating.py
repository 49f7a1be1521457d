"""What the clock works out about machines and prices: reliability, and what each model costs."""

from __future__ import annotations

import datetime as dt

from django.db import connection, transaction
from django.db.models import Q

from core import clock
from nodes.models import ModelPrice, Node
from nodes.services.listing import refresh_offer

# A machine's reliability is the part of the last 30 days (or of its life, from a day on) in which its
# beats came: an open session counts up to its last beat.
RELIABILITY = """
    WITH life AS (
        SELECT id, greatest(created_at, %(now)s - interval '30 days') AS since FROM nodes_node
        WHERE created_at <= %(now)s - interval '1 day'
    ), heard AS (
        SELECT life.id, sum(extract(epoch FROM
                   least(coalesce(s.closed_at, s.last_beat), s.last_beat, %(now)s)
                   - greatest(s.opened_at, life.since)))
                   / extract(epoch FROM %(now)s - life.since) AS part
        FROM life JOIN nodes_agentsession s
          ON s.node_id = life.id AND s.last_beat > life.since
        GROUP BY life.id, life.since
    )
    SELECT life.id, least(10000, greatest(0, round(10000 * coalesce(heard.part, 0))))::int
    FROM life LEFT JOIN heard USING (id) JOIN nodes_node n USING (id)
    WHERE n.reliability_bp IS DISTINCT FROM
          least(10000, greatest(0, round(10000 * coalesce(heard.part, 0))))::int
"""
# Anybody's machine may say that it has many cards, so a host has one voice: the median of its own free cards (a
# machine without cards counts once). From three hosts on the cheapest and the dearest make no figure alone: at p10
# or below are a tenth of the hosts, and two at least; so are at p90 or above.
PRICES = """
    WITH voices AS (
        SELECT gpu_model, count(*) AS free, percentile_disc(0.5) WITHIN GROUP (ORDER BY compute_rate) AS rate
        FROM nodes_offer JOIN nodes_node ON nodes_node.id = node_id
             CROSS JOIN LATERAL generate_series(1, greatest(gpu_free, 1)) card
        WHERE listed AND NOT nodes_offer.simulated AND (gpu_total = 0 OR gpu_free > 0)
        GROUP BY gpu_model, owner_id
    ), heard AS (
        SELECT gpu_model, sum(free) AS free, count(*)::int AS hosts, array_agg(rate ORDER BY rate) AS rates,
               CASE WHEN count(*) < 3 THEN 1 ELSE greatest(2, ceil(count(*) / 10.0)) END::int AS tenth
        FROM voices GROUP BY gpu_model
    )
    INSERT INTO nodes_modelprice (gpu_model, hour, free, hosts, p10, p50, p90)
    SELECT gpu_model, date_trunc('hour', %(now)s, 'UTC'), free, hosts,
           rates[tenth], rates[(hosts + 1) / 2], rates[hosts + 1 - tenth] FROM heard
    ON CONFLICT (gpu_model, hour) DO UPDATE
    SET free = excluded.free, hosts = excluded.hosts, p10 = excluded.p10, p50 = excluded.p50, p90 = excluded.p90
"""


def rate_reliability() -> int:
    """Write down the reliability of every machine whose figure has changed; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(RELIABILITY, {"now": clock.now()})
        figures = cursor.fetchall()
    for node_id, figure in figures:
        with transaction.atomic():
            node = Node.objects.lock().get(pk=node_id)
            node.reliability_bp = figure
            node.save(update_fields=["reliability_bp"])
            refresh_offer(node)
    return len(figures)


@transaction.atomic
def note_prices() -> None:
    """Write down what hosts ask for free cards of each model in this hour; a later look replaces an earlier.

    Hours that are too old to be asked for are forgotten, and those that were written while the clock was ahead.
    """
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(PRICES, {"now": now})
    oldest = now - dt.timedelta(days=ModelPrice.KEPT_DAYS)
    ModelPrice.objects.filter(Q(hour__lt=oldest) | Q(hour__gt=now)).delete()
