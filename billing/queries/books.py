"""Whether the books are right: everything recomputed from the transfers."""

from __future__ import annotations

from django.db import connection

CHECKS = {
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
    "deposit {0}: {1}, and {2} nano-units were credited for it": """
        SELECT d.id, d.state, COALESCE(t.amount, 0) FROM billing_deposit d
        LEFT JOIN billing_transfer t ON t.idem = 'deposit:' || d.id
        WHERE COALESCE(t.amount, 0) <> CASE
            WHEN d.state IN ('succeeded', 'refunded', 'disputed', 'lost') THEN d.amount ELSE 0 END""",
    "deposit {0}: {1} nano-units refunded, its returns say {2}": """
        SELECT d.id, d.refunded, COALESCE(SUM(r.amount), 0) FROM billing_deposit d
        LEFT JOIN billing_depositreturn r ON r.deposit_id = d.id AND r.state <> 'failed'
        GROUP BY d.id HAVING d.refunded <> COALESCE(SUM(r.amount), 0)""",
    "deposit {0}: {1} of {2} nano-units are free, though a refund or a dispute lacks some": """
        SELECT d.id, d.amount - d.refunded - x.open, d.amount FROM billing_deposit d
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(amount) FILTER (WHERE state = 'open'), 0) AS open,
                   COALESCE(SUM(amount) FILTER (WHERE state = 'lost'), 0) AS lost,
                   COALESCE(SUM(asked - amount) FILTER (WHERE state = 'open'), 0) AS lacking
            FROM billing_dispute WHERE deposit_id = d.id) x
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(asked - amount), 0) AS lacking
            FROM billing_depositreturn WHERE deposit_id = d.id AND state = 'sent') r
        WHERE (d.amount > d.refunded + x.open AND r.lacking > 0)
           OR (d.amount > d.refunded + x.open + x.lost AND x.lacking > 0)""",
    "dispute {0}: lost, {1} of the {2} nano-units that the bank took": """
        SELECT id, amount, asked FROM billing_dispute WHERE state = 'lost' AND amount <> asked""",
    "return {0}: {1} of {2} nano-units; taken and undone were {3}": """
        SELECT r.id, r.state, r.amount, ARRAY[x.taken, x.undone] FROM billing_depositreturn r
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'returned'), 0) AS taken,
                   COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'return_undone'), 0) AS undone
            FROM billing_transfer t WHERE t.group_id = r.id AND t.meter_id IS NULL) x
        WHERE (x.taken, x.undone) <> (r.amount,
            CASE WHEN r.state = 'failed' THEN r.amount ELSE 0 END)""",
    "deposit {0}: {1} nano-units went back, and only {2} came": """
        SELECT d.id, d.refunded + x.disputed, d.amount FROM billing_deposit d
        JOIN (SELECT deposit_id, SUM(amount) AS disputed FROM billing_dispute
              WHERE state = 'open' GROUP BY deposit_id) x ON x.deposit_id = d.id
        WHERE d.refunded + x.disputed > d.amount""",
    "deposit {0}: {1}, and {2} of its disputes are open": """
        SELECT d.id, d.state, COUNT(x.id) FROM billing_deposit d
        LEFT JOIN billing_dispute x ON x.deposit_id = d.id AND x.state = 'open'
        GROUP BY d.id HAVING (d.state = 'disputed') <> (COUNT(x.id) > 0)""",
    "dispute {0}: {1} nano-units, {2} were taken and {3} given back": """
        SELECT x.id, x.amount, COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'dispute'), 0),
               COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'dispute_won'), 0)
        FROM billing_dispute x LEFT JOIN billing_transfer t ON t.group_id = x.id
        GROUP BY x.id
        HAVING COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'dispute'), 0) <> x.amount
            OR COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'dispute_won'), 0)
               <> CASE WHEN x.state = 'won' THEN x.amount ELSE 0 END""",
    "wallet {0}: frozen is {1}, {2} nano-units are owed and {3} disputes are open": """
        SELECT a.id, a.frozen, o.owed, x.open FROM billing_account a
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(CASE WHEN t.src_id = r.id THEN t.amount ELSE -t.amount END), 0) AS owed
            FROM billing_account r JOIN billing_transfer t ON t.src_id = r.id OR t.dst_id = r.id
            WHERE r.kind = 'receivable' AND r.owner_id = a.owner_id AND r.currency = a.currency) o
        CROSS JOIN LATERAL (
            SELECT COUNT(*) AS open FROM billing_dispute x JOIN billing_deposit d ON d.id = x.deposit_id
            WHERE x.state = 'open' AND d.owner_id = a.owner_id AND d.currency = a.currency) x
        WHERE a.kind = 'wallet' AND (o.owed < 0 OR a.frozen <> (o.owed > 0 OR x.open > 0))""",
    "host {0}: {1} nano-units were made free, only {2} were earned before": """
        SELECT m.host, m.free, COALESCE(e.earned, 0) FROM (
            SELECT src_id AS host, SUM(amount) AS free, MAX(t1) AS until FROM billing_transfer
            WHERE kind = 'matured' GROUP BY src_id) m
        LEFT JOIN LATERAL (
            SELECT SUM(amount) AS earned FROM billing_transfer t WHERE t.dst_id = m.host
            AND t.kind IN ('share', 'cover', 'host_owed')
            AND (t.kind <> 'share' OR t.created_at <= to_timestamp(m.until))) e ON true
        WHERE m.free > COALESCE(e.earned, 0)""",
    "top-ups of {0}: {1} in flight or {2} nano-units in a month, at most one and {3}": """
        SELECT d.owner_id, COUNT(*) FILTER (WHERE d.state IN ('created', 'pending')),
               SUM(d.amount) FILTER (WHERE d.state NOT IN ('failed', 'expired')),
               MAX(r.month_max)
        FROM billing_deposit d JOIN billing_autotopup r ON r.owner_id = d.owner_id
        WHERE d.auto AND d.created_at >= r.since
        GROUP BY d.owner_id, date_trunc('month', d.created_at AT TIME ZONE 'UTC')
        HAVING COUNT(*) FILTER (WHERE d.state IN ('created', 'pending')) > 1
            OR SUM(d.amount) FILTER (WHERE d.state NOT IN ('failed', 'expired')) > MAX(r.month_max)""",
    "refund {0}: {1} nano-units, its legs say {2}": """
        SELECT r.id, r.amount, COALESCE(SUM(t.amount), 0) FROM billing_refund r
        LEFT JOIN billing_transfer t ON t.group_id = r.id AND t.meter_id IS NULL
             AND t.kind NOT IN ('cover', 'host_owed')
        GROUP BY r.id HAVING r.amount <> COALESCE(SUM(t.amount), 0)""",
    "transfer {0}: {1} nano-units of it stand, {2} were given back": """
        SELECT o.id, o.amount / (o.t1 - o.t0) * GREATEST(0, LEAST(o.t1, m.settled) - o.t0), g.given
        FROM (
            SELECT b.reverses_id, SUM(b.amount - COALESCE(u.amount, 0)) AS given
            FROM billing_transfer b LEFT JOIN LATERAL (
                SELECT SUM(u.amount) AS amount FROM billing_transfer u WHERE u.reverses_id = b.id) u ON true
            WHERE b.reverses_id IS NOT NULL AND b.meter_id IS NULL AND b.kind <> 'undone'
            GROUP BY b.reverses_id) g
        JOIN billing_transfer o ON o.id = g.reverses_id JOIN billing_meter m ON m.id = o.meter_id
        WHERE g.given > o.amount / (o.t1 - o.t0) * GREATEST(0, LEAST(o.t1, m.settled) - o.t0) OR g.given < 0""",
    "payout {0}: {1} of {2} nano-units; taken, returned, sent and reversed were {3}": """
        SELECT p.id, p.state, p.amount, ARRAY[x.taken, x.returned, x.sent, x.reversed] FROM billing_payout p
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'payout'), 0) AS taken,
                   COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'payout_back'), 0) AS returned,
                   COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'payout_sent'), 0) AS sent,
                   COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'payout_reversed'), 0) AS reversed
            FROM billing_transfer t WHERE t.group_id = p.id AND t.meter_id IS NULL) x
        WHERE (x.taken, x.returned, x.sent, x.reversed) <> (p.amount,
            CASE WHEN p.state IN ('refused', 'failed') THEN p.amount ELSE 0 END,
            CASE WHEN p.state IN ('paid', 'reversed') THEN p.amount ELSE 0 END, p.reversed)
            OR (p.state = 'reversed') <> (p.reversed = p.amount)""",
    "payouts: account {0} has {1} nano-units, {2} are on their way": """
        SELECT a.id, x.has, o.open FROM billing_account a
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(CASE WHEN t.dst_id = a.id THEN t.amount ELSE -t.amount END), 0) AS has
            FROM billing_transfer t WHERE t.src_id = a.id OR t.dst_id = a.id) x
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(p.amount), 0) AS open FROM billing_payout p
            WHERE p.currency = a.currency AND p.state IN ('requested', 'approved', 'sending')) o
        WHERE a.kind = 'payout' AND x.has <> o.open""",
    "debt of host {0}: {1} nano-units were paid, {2} were owed": """
        SELECT a.owner_id, o.paid, o.owed FROM billing_account a
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(t.amount) FILTER (WHERE t.dst_id = a.id), 0) AS paid,
                   COALESCE(SUM(t.amount) FILTER (WHERE t.src_id = a.id), 0) AS owed
            FROM billing_transfer t WHERE t.src_id = a.id OR t.dst_id = a.id) o
        WHERE a.kind = 'host_debt' AND o.paid > o.owed""",
    "statement {0}: closes at {1}, its opening and its sums make {2}": """
        SELECT s.id, s.closing, s.opening + x.net FROM billing_monthlystatement s
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM((e.row ->> 'in')::bigint - (e.row ->> 'out')::bigint), 0) AS net
            FROM jsonb_each(s.sums) AS e (kind, row)) x
        WHERE s.closing <> s.opening + x.net""",
    "statement {0}: opens at {1}, the one before it closes at {2}": """
        SELECT id, opening, before FROM (
            SELECT id, opening, LAG(closing, 1, 0::bigint) OVER (
                PARTITION BY owner_id, side, currency ORDER BY month_id) AS before
            FROM billing_monthlystatement) x
        WHERE opening <> before""",
    "statement {0}: closes at {1}, the transfers up to its month make {2}": """
        SELECT s.id, s.closing, x.total FROM billing_monthlystatement s
        JOIN billing_month m ON m.month = s.month_id
        CROSS JOIN LATERAL (
            SELECT COALESCE(SUM(CASE WHEN t.dst_id = a.id THEN t.amount ELSE -t.amount END), 0) AS total
            FROM billing_account a JOIN billing_transfer t ON t.dst_id = a.id OR t.src_id = a.id
            WHERE a.owner_id = s.owner_id AND a.currency = s.currency
              AND (a.kind = s.side OR (s.side = 'host' AND a.kind = 'host_free'))
              AND t.created_at < m.ends_at AND t.id <= m.last_transfer) x
        WHERE s.closing <> x.total""",
    "{0} of {1}: {2} was the last number given, {3} papers bear one": """
        SELECT s.paper, s.year, s.last, x.many FROM billing_numberseries s
        CROSS JOIN LATERAL (SELECT COUNT(*) AS many, COALESCE(MAX(i.seq), 0) AS highest
            FROM billing_invoice i WHERE i.paper = s.paper AND i.year = s.year) x
        WHERE s.last <> x.many OR s.last <> x.highest""",
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
        for sentence, query in CHECKS.items():
            cursor.execute(query)
            found += [sentence.format(*row) for row in cursor.fetchall()]
    return found
