"""Lines and movements as every door shows them."""

from __future__ import annotations

from typing import Any

from billing.models import Transfer
from billing.services import BillLine
from core import clock, money


def line_out(line: BillLine) -> dict[str, Any]:
    """Return one line of a bill; amounts are decimal strings."""
    return {
        "subject_id": str(line.subject_id),
        "kind": line.kind,
        "seconds": line.seconds,
        "started": clock.from_epoch(line.started),
        "ended": clock.from_epoch(line.ended) if line.ended else None,
        "paid_by_renter": money.decimal_string(line.amount),
        "earned": money.decimal_string(line.host_share),
    }


def transfer_out(transfer: Transfer, owner_id: object) -> dict[str, Any]:
    """Return one movement as its owner sees it: what goes out has a minus."""
    incoming = transfer.dst.owner_id == owner_id and transfer.dst.kind == "wallet"
    return {
        "id": transfer.pk,
        "kind": transfer.kind,
        "amount": ("" if incoming else "-") + money.decimal_string(transfer.amount),
        "currency": transfer.src.currency,
        "subject_id": str(transfer.meter.subject_id) if transfer.meter else None,
        "from": clock.from_epoch(transfer.t0) if transfer.t0 else None,
        "to": clock.from_epoch(transfer.t1) if transfer.t1 else None,
        "at": transfer.created_at,
    }
