"""What of a posting can still be given back: what it says, less what was reversed, less what was given."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import connection
from django.db.models import Sum

from billing.models import AccountKind, Transfer

# Of each posting of a subject's meters: what lies in [since, until) and still stands after reversals, less what was
# given back for these seconds already, and never more than what is left of the whole posting. A credit names its
# seconds; a refund by staff, which names none, is taken from what is left only.
_STANDING = """
    SELECT t.id, t.src_id, t.dst_id, t.kind, t.meter_id, t.t0,
           LEAST(t.amount / (t.t1 - t.t0)
                 * GREATEST(0, LEAST(t.t1, m.settled, %(until)s) - GREATEST(t.t0, %(since)s)) - g.here,
                 t.amount / (t.t1 - t.t0) * GREATEST(0, LEAST(t.t1, m.settled) - t.t0) - g.given)
    FROM billing_meter m
    JOIN billing_transfer t ON t.meter_id = m.id AND t.kind IN ('share', 'fee')
    CROSS JOIN LATERAL (
        SELECT COALESCE(SUM(left_over), 0) AS given,
               COALESCE(SUM(left_over) FILTER (WHERE (r.evidence->>'from')::bigint < %(until)s
                                                 AND (r.evidence->>'to')::bigint > %(since)s), 0) AS here
        FROM billing_transfer b
        CROSS JOIN LATERAL (
            SELECT b.amount - COALESCE(SUM(u.amount), 0) AS left_over
            FROM billing_transfer u WHERE u.reverses_id = b.id) u
        LEFT JOIN billing_refund r ON r.id = b.group_id AND r.kind = 'credit'
        WHERE b.reverses_id = t.id AND b.meter_id IS NULL) g
    WHERE m.subject_id = %(subject)s AND m.kind = ANY(%(kinds)s)
      AND (%(only)s::bigint IS NULL OR t.id = %(only)s)
      AND t.t1 > %(since)s AND t.t0 < %(until)s
    ORDER BY t.t0 DESC, m.id, t.kind DESC
"""
EVER = 2**62


@dataclass(frozen=True)
class Standing:
    """One posting and how much of it (nano-units) may still be given back."""

    transfer_id: int
    src_id: int
    dst_id: int
    kind: str
    meter_id: uuid.UUID
    t0: int
    amount: int


def standing(
    *,
    subject_id: uuid.UUID,
    kinds: tuple[str, ...] = ("compute", "storage"),
    only: int | None = None,
    since: int = 0,
    until: int = EVER,
) -> list[Standing]:
    """Return what may still be given back of what a subject has paid in [since, until), the latest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            _STANDING,
            {
                "subject": subject_id,
                "kinds": list(kinds),
                "only": only,
                "since": since,
                "until": until,
            },
        )
        rows = [
            Standing(pk, src, dst, kind, meter, t0, int(amount))
            for pk, src, dst, kind, meter, t0, amount in cursor.fetchall()
        ]
    return [row for row in rows if row.amount > 0]


def paid_by_hosts(*, group_id: uuid.UUID) -> list[tuple[uuid.UUID, int]]:
    """Return which hosts gave back how much (nano-units) in one decision."""
    legs = Transfer.objects.filter(
        group_id=group_id,
        meter=None,
        src__kind=AccountKind.HOST.value,
        dst__kind=AccountKind.WALLET.value,
    )
    rows = legs.values_list("src__owner_id").annotate(total=Sum("amount")).order_by("src__owner_id")
    return [(owner_id, int(total)) for owner_id, total in rows if owner_id is not None]
