"""What hosts have earned: how much of it is still young, what they owe, and which machine earned when."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from billing.machine import PAID_IN
from core import clock

# Each posting to a host, or back from it, with the instant until which it is young. What goes back is as
# young as what it gives back. Money of somebody who has paid by card can be asked back for longer.
_YOUNG = """
    FROM unnest(%(hosts)s::bigint[]) AS wanted (id)
    JOIN billing_account h ON h.id = wanted.id
    CROSS JOIN LATERAL (
        SELECT t.dst_id AS host, t.src_id AS payer, t.amount, t.created_at, t.reverses_id
        FROM billing_transfer t WHERE t.dst_id = h.id AND t.created_at > %(oldest)s
        UNION ALL
        SELECT t.src_id, t.dst_id, -t.amount, t.created_at, t.reverses_id
        FROM billing_transfer t WHERE t.src_id = h.id AND t.created_at > %(oldest)s
    ) x
    JOIN billing_account payer ON payer.id = x.payer AND payer.kind = 'wallet'
    LEFT JOIN billing_transfer original ON original.id = x.reverses_id
    CROSS JOIN LATERAL (
        SELECT COALESCE(original.created_at, x.created_at) + CASE WHEN EXISTS (
            SELECT 1 FROM billing_deposit d
            WHERE d.owner_id = payer.owner_id AND d.currency = payer.currency AND d.state = ANY(%(paid)s)
        ) THEN %(card)s ELSE %(other)s END * interval '1 second' AS ripe
    ) r
    WHERE r.ripe > %(now)s
"""


def _young(hosts: Sequence[int]) -> dict[str, Any]:
    now, env = clock.now(), settings.DC
    longest = max(env.maturity_card_seconds, env.maturity_other_seconds)
    return {
        "hosts": list(hosts),
        "now": now,
        "oldest": now - dt.timedelta(seconds=longest),
        "card": env.maturity_card_seconds,
        "other": env.maturity_other_seconds,
        "paid": sorted(state.value for state in PAID_IN),
    }


def young_of(*, hosts: Sequence[int]) -> dict[int, int]:
    """Return how much of each host account's earnings is too young to be paid out (nano-units)."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT x.host, SUM(x.amount) {_YOUNG} GROUP BY x.host", _young(hosts))
        return {host: max(0, int(amount)) for host, amount in cursor.fetchall()}


def ripening(*, host: int) -> list[tuple[dt.date, int]]:
    """Return what matures of a host account on which day (UTC), the next first, at most 60 days."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT (r.ripe AT TIME ZONE 'UTC')::date AS day, SUM(x.amount) {_YOUNG}
                GROUP BY day HAVING SUM(x.amount) > 0 ORDER BY day LIMIT 60""",
            _young([host]),
        )
        return [(day, int(amount)) for day, amount in cursor.fetchall()]


def owed_by_hosts(*, owners: Sequence[uuid.UUID], currency: str) -> dict[uuid.UUID | None, int]:
    """Return what hosts owe (nano-units); who owes nothing is left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT a.owner_id, SUM(CASE WHEN t.src_id = a.id THEN t.amount ELSE -t.amount END) AS owed
               FROM billing_account a JOIN billing_transfer t ON t.src_id = a.id OR t.dst_id = a.id
               WHERE a.kind = 'host_debt' AND a.owner_id = ANY(%s) AND a.currency = %s
               GROUP BY a.owner_id
               HAVING SUM(CASE WHEN t.src_id = a.id THEN t.amount ELSE -t.amount END) <> 0""",
            [list(owners), currency],
        )
        return {owner: int(owed) for owner, owed in cursor.fetchall()}


@dataclass(frozen=True)
class PlaceDay:
    """What one machine earned on one day (UTC), posted so far (nano-units); `seconds` of use, both meters."""

    place_id: uuid.UUID | None
    day: dt.date
    earned: int
    seconds: int


_BY_DAY = """
    SELECT m.place_id, (d.day AT TIME ZONE 'UTC')::date,
           SUM(m.payee_rate * s.seconds), SUM(s.seconds)
    FROM generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 day') AS d (day)
    JOIN billing_meter m ON m.payee_id = %(host)s
     AND m.started < extract(epoch FROM d.day) + 86400 AND m.settled > extract(epoch FROM d.day)
    CROSS JOIN LATERAL (SELECT
        LEAST(m.settled, extract(epoch FROM d.day)::bigint + 86400)
        - GREATEST(m.started, extract(epoch FROM d.day)::bigint) AS seconds) s
    GROUP BY m.place_id, d.day ORDER BY d.day DESC, SUM(m.payee_rate * s.seconds) DESC
"""


def earned_by_day(*, host: int, first: dt.date, last: dt.date) -> list[PlaceDay]:
    """Return what each machine of a host account earned on each day from `first` to `last`."""
    midnight = dt.time(tzinfo=dt.UTC)
    days = {
        "first": dt.datetime.combine(first, midnight),
        "last": dt.datetime.combine(last, midnight),
    }
    with connection.cursor() as cursor:
        cursor.execute(_BY_DAY, {"host": host, **days})
        return [PlaceDay(place, day, int(n), int(s)) for place, day, n, s in cursor.fetchall()]
