"""Whether the books are right: everything recomputed from the transfers."""

from __future__ import annotations

from django.db import connection

_CHECKS = {
    "account {0}: balance {1}, its transfers say {2}": """
        SELECT a.id, a.balance, COALESCE(e.total, 0) FROM billing_account a
        LEFT JOIN (
            SELECT account, SUM(amount) AS total FROM (
                SELECT dst_id AS account, amount FROM billing_transfer
                UNION ALL SELECT src_id, -amount FROM billing_transfer) x GROUP BY account
        ) e ON e.account = a.id
        WHERE a.floor IS NOT NULL AND a.balance <> COALESCE(e.total, 0)""",
    "account {0}: held {1}, its open holds say {2}": """
        SELECT a.id, a.held, COALESCE(SUM(h.amount), 0) FROM billing_account a
        LEFT JOIN billing_hold h ON h.account_id = a.id AND h.released_at IS NULL
        GROUP BY a.id HAVING a.held <> COALESCE(SUM(h.amount), 0)""",
    "account {0}: burns {1}, its open meters say {2}": """
        SELECT a.id, a.burn, COALESCE(SUM(m.rate), 0) FROM billing_account a
        LEFT JOIN billing_meter m ON m.wallet_id = a.id AND m.ended IS NULL
        GROUP BY a.id HAVING a.burn <> COALESCE(SUM(m.rate), 0)""",
    "account {0}: runs out at {1}, its line says {2}": """
        SELECT id, runs_out, asof + (balance - held) / burn FROM billing_account
        WHERE burn > 0 AND runs_out <> asof + (balance - held) / burn""",
    "meter {0}: posted {1}, rate x seconds is {2}": """
        SELECT m.id, COALESCE(SUM(CASE WHEN t.src_id = m.wallet_id THEN t.amount ELSE -t.amount END), 0),
               m.rate * (m.settled - m.started)
        FROM billing_meter m LEFT JOIN billing_transfer t ON t.meter_id = m.id
        GROUP BY m.id
        HAVING COALESCE(SUM(CASE WHEN t.src_id = m.wallet_id THEN t.amount ELSE -t.amount END), 0)
               <> m.rate * (m.settled - m.started)""",
    "meter {0}: a gap or an overlap at {1}": """
        SELECT meter_id, t0 FROM (
            SELECT meter_id, t0, LAG(t1) OVER (PARTITION BY meter_id, kind ORDER BY t0) AS before
            FROM billing_transfer WHERE meter_id IS NOT NULL AND kind IN ('share', 'fee')) x
        WHERE before IS NOT NULL AND before <> t0""",
}


def problems() -> list[str]:
    """Return a sentence for each thing that does not add up."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for sentence, query in _CHECKS.items():
            cursor.execute(query)
            found += [sentence.format(*row) for row in cursor.fetchall()]
    return found
