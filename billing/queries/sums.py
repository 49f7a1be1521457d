"""Sums over many rows that services ask for."""

from __future__ import annotations

import uuid

from django.db import connection
from django.db.models import F

from billing.models import Account, AccountKind


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
