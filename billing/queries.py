"""Whether the books are right: everything recomputed from the transfers, and bills from the audit log."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection
from django.db.models import Case, F, Sum, When

from audit import services as audit
from billing.models import Account, AccountKind, Meter, Transfer

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
    "deposit {0}: {1}, and {2} nano-units were credited for it": """
        SELECT d.id, d.state, COALESCE(t.amount, 0) FROM billing_deposit d
        LEFT JOIN billing_transfer t ON t.idem = 'deposit:' || d.id
        WHERE COALESCE(t.amount, 0) <> CASE
            WHEN d.state IN ('succeeded', 'refunded', 'disputed', 'lost') THEN d.amount ELSE 0 END""",
    "deposit {0}: {1} nano-units refunded, its transfers say {2}": """
        SELECT d.id, d.refunded, COALESCE(SUM(t.amount), 0) FROM billing_deposit d
        LEFT JOIN billing_transfer t ON t.group_id = d.id AND t.kind = 'refund'
        GROUP BY d.id HAVING d.refunded <> COALESCE(SUM(t.amount), 0)""",
    "deposit {0}: {1} nano-units went back, and only {2} came": """
        SELECT d.id, d.refunded + x.disputed, d.amount FROM billing_deposit d
        JOIN (SELECT deposit_id, SUM(amount) AS disputed FROM billing_dispute
              WHERE state <> 'won' GROUP BY deposit_id) x ON x.deposit_id = d.id
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
    "meter {0}: a gap or an overlap at {1}": """
        SELECT meter_id, t0 FROM (
            SELECT meter_id, t0, LAG(t1) OVER (PARTITION BY meter_id, kind ORDER BY t0) AS before
            FROM billing_transfer WHERE meter_id IS NOT NULL AND kind IN ('share', 'fee')) x
        WHERE before IS NOT NULL AND before <> t0""",
}


def somebody_is_exhausted(*, now: int) -> bool:
    """Whether some wallet's free money has ended by `now` (epoch seconds)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_account WHERE runs_out <= %s LIMIT 1", [now])
        return cursor.fetchone() is not None


def frozen_wallets(*, limit: int) -> list[tuple[uuid.UUID, str]]:
    """Return the owners and currencies of frozen wallets, those with free money first."""
    frozen = Account.objects.filter(kind=AccountKind.WALLET.value, frozen=True)
    rows = frozen.order_by(F("held") - F("balance")).values_list("owner_id", "currency")[:limit]
    return [(owner_id, currency) for owner_id, currency in rows if owner_id is not None]


_DISPUTED_EARNINGS = """
    WITH disputed AS (
        SELECT d.owner_id, SUM(x.amount) AS amount, MIN(d.created_at) AS since
        FROM billing_dispute x JOIN billing_deposit d ON d.id = x.deposit_id
        WHERE x.state = 'open' AND d.currency = %(currency)s GROUP BY d.owner_id
    ), fed AS (
        SELECT i.owner_id, SUM(CASE WHEN t.src_id = w.id THEN t.amount ELSE -t.amount END) AS amount
        FROM disputed i
        JOIN billing_account w
          ON w.kind = 'wallet' AND w.owner_id = i.owner_id AND w.currency = %(currency)s
        JOIN billing_account h
          ON h.kind = 'host' AND h.owner_id = %(payee)s AND h.currency = %(currency)s
        JOIN billing_transfer t
          ON (t.src_id = w.id AND t.dst_id = h.id) OR (t.src_id = h.id AND t.dst_id = w.id)
        WHERE t.created_at >= i.since GROUP BY i.owner_id
    )
    SELECT COALESCE(SUM(GREATEST(0, LEAST(f.amount, i.amount))), 0)
    FROM fed f JOIN disputed i USING (owner_id)
"""


def disputed_earnings(*, payee_id: uuid.UUID, currency: str) -> int:
    """Return what renters whose payments are disputed have paid to a host since, at most what is disputed."""
    with connection.cursor() as cursor:
        cursor.execute(_DISPUTED_EARNINGS, {"payee": payee_id, "currency": currency})
        return int(cursor.fetchone()[0])


def problems() -> list[str]:
    """Return a sentence for each thing that does not add up."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for sentence, query in _CHECKS.items():
            cursor.execute(query)
            found += [sentence.format(*row) for row in cursor.fetchall()]
    return found


@dataclass(frozen=True)
class Replayed:
    """One meter told by the audit log alone, beside what the ledger has posted for it.

    Instants in epoch seconds, `amount` and `posted` in nano-units; `closed` is None while it runs.
    """

    kind: str
    rate: int
    opened: int
    closed: int | None
    amount: int
    posted: int

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.amount == self.posted


def replay(*, subject_id: uuid.UUID) -> list[Replayed]:
    """Recompute a bill from the events of its meters; the rows of the meters say only which there are."""
    lines = []
    for meter in Meter.objects.filter(subject_id=subject_id).order_by("started", "kind"):
        events = {event.verb: event.data for event in audit.timeline(subject_id=meter.pk)}
        opened = events.get("meter.opened", {"kind": meter.kind, "rate": 0, "at": meter.started})
        closed = events["meter.closed"]["at"] if "meter.closed" in events else None
        end = meter.settled if closed is None else closed
        lines.append(
            Replayed(
                kind=opened["kind"],
                rate=opened["rate"],
                opened=opened["at"],
                closed=closed,
                amount=opened["rate"] * (end - opened["at"]),
                posted=_posted(meter),
            )
        )
    return lines


def _posted(meter: Meter) -> int:
    """Return what the transfers of a meter have taken from its wallet, less what they gave back."""
    signed = Case(When(src_id=meter.wallet_id, then=F("amount")), default=-F("amount"))
    total = Transfer.objects.filter(meter=meter).aggregate(total=Sum(signed))["total"]
    return int(total or Decimal(0))
