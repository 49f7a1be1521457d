"""Statements as every door shows them, and what people ask for them with."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from billing import services
from billing.models import Invoice, Side, Transfer
from billing.presenting import kind_words, signed, transfer_out
from billing.services import MonthOut
from core import money
from core.errors import Invalid
from core.tables import cents

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
MONTH_COLUMNS = (
    "movement", "at", "what", "amount", "amount_cents", "currency", "from", "to", "rental",
)  # fmt: skip


def month_from(given: str) -> dt.date:
    """Return the first day of a month written as 2026-10. Raises Invalid `month_invalid`."""
    match = _MONTH.fullmatch(given)
    # Years that calendars of all programs can count from and to.
    if match is None or not (2000 <= int(match[1]) < 9000 and 1 <= int(match[2]) <= 12):
        raise Invalid("month_invalid", "Write a month as year and month: 2026-10.")
    return dt.date(int(match[1]), int(match[2]), 1)


def side_from(given: str | None) -> Side:
    """Return whose money is meant; one's wallet unless said. Raises Invalid `side_unknown`."""
    try:
        return Side(given or Side.WALLET.value)
    except ValueError:
        raise Invalid("side_unknown", "A statement is of your wallet or as a host.") from None


def currency_from(given: str | None) -> str:
    """Return which currency is meant, the one that rents unless said. Raises Invalid `currency_unknown`."""
    return services.currencies()[0] if given is None else services.parse_currency(given)


def month_out(month: MonthOut) -> dict[str, Any]:
    """Return a month: opening + what came - what went = closing, exactly."""
    return {
        "month": f"{month.month:%Y-%m}",
        "side": month.side.value,
        "currency": month.currency,
        "opening": money.decimal_string(month.opening),
        "closing": money.decimal_string(month.closing),
        "closed": month.closed,
        "sums": [
            {
                "kind": each.kind,
                "words": kind_words(each.kind),
                "came": money.decimal_string(each.came),
                "went": money.decimal_string(each.went),
                "count": each.count,
            }
            for each in month.sums
        ],
    }


def line_out(transfer: Transfer, owner_id: object, side: Side) -> dict[str, Any]:
    """Return one movement as the owner of this side sees it."""
    return transfer_out(transfer, owner_id, kinds=side.accounts)


def month_rows(
    month: MonthOut, transfers: Sequence[Transfer], owner_id: object
) -> list[list[object]]:
    """Return a month as a table, oldest first: the opening balance, each movement, the closing balance."""
    amounts = [signed(row, owner_id, month.side.accounts) for row in transfers]
    opening, *rounded = cents([month.opening, *amounts])
    rows: list[dict[str, Any]] = [
        {"what": "Opening balance", "amount": month.opening, "amount_cents": opening}
    ]
    for row, amount, figure in zip(transfers, amounts, rounded, strict=True):
        told = line_out(row, owner_id, month.side)
        rows.append(
            {
                "movement": row.pk,
                "at": row.created_at.isoformat(),
                "what": told["words"],
                "amount": amount,
                "amount_cents": figure,
                "from": told["from"] and told["from"].isoformat(),
                "to": told["to"] and told["to"].isoformat(),
                "rental": told["subject_id"],
            }
        )
    [closing] = cents([month.closing])
    rows.append({"what": "Closing balance", "amount": month.closing, "amount_cents": closing})
    for each in rows:
        each["amount"] = money.decimal_string(each["amount"])
        each["currency"] = month.currency
    return [[each.get(column) for column in MONTH_COLUMNS] for each in rows]


def invoice_out(invoice: Invoice) -> dict[str, Any]:
    """Return an invoice or a credit note: what it says, and the SHA-256 of that as canonical JSON."""
    return {
        "id": str(invoice.pk),
        "issued_at": invoice.issued_at,
        "sha256": invoice.sha256,
        **invoice.data,
    }
