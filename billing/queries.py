"""Whether the books are right: everything recomputed from the transfers, and bills from the audit log."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection
from django.db.models import Case, F, Sum, When

from audit import services as audit
from billing.models import Meter, Transfer

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
