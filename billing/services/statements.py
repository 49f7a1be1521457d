"""What was paid for, line by line: bills, earnings, movements, and whether the books are right."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings

from billing import metering, queries
from billing.models import Meter, Transfer
from billing.services.invoices import invoice_problems
from billing.services.wallets import find_wallet
from core import clock


@dataclass(frozen=True)
class BillLine:
    """One meter: amount = rate x seconds; `ended` is None while it runs."""

    kind: str
    rate: int
    seconds: int
    started: int
    ended: int | None
    amount: int
    host_share: int
    subject_id: uuid.UUID


@dataclass(frozen=True)
class Bill:
    """Everything one subject (a rental) has cost."""

    lines: list[BillLine]
    total: int
    currency: str


@dataclass(frozen=True)
class Earnings:
    """What a host has earned: posted and still on the line, by subject."""

    total: int
    lines: list[BillLine]
    currency: str


def _line(meter: Meter, now: int) -> BillLine:
    end = meter.ended
    if end is None:
        wallet = meter.wallet
        end = metering.accrued_until(now=now, asof=meter.settled, runs_out=wallet.runs_out)
    return BillLine(
        kind=meter.kind,
        rate=meter.rate,
        seconds=end - meter.started,
        started=meter.started,
        ended=meter.ended,
        amount=metering.charge(rate=meter.rate, start=meter.started, end=end),
        host_share=metering.charge(rate=meter.payee_rate, start=meter.started, end=end),
        subject_id=meter.subject_id,
    )


def bill_of(*, subject_id: uuid.UUID) -> Bill:
    """Return every line of a subject's bill up to now; each is rate x seconds, exactly."""
    now = clock.epoch()
    meters = Meter.objects.filter(subject_id=subject_id).select_related("wallet")
    lines = [_line(meter, now) for meter in meters.order_by("started", "kind")]
    return Bill(lines, sum(line.amount for line in lines), settings.CURRENCY)


def totals_of(*, subject_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return what each of these subjects has cost up to now, 0 for what has no bill; one query for all."""
    now = clock.epoch()
    totals: dict[uuid.UUID, int] = defaultdict(int)
    for meter in Meter.objects.filter(subject_id__in=subject_ids).select_related("wallet"):
        totals[meter.subject_id] += _line(meter, now).amount
    return totals


def earnings_of(*, owner_id: uuid.UUID) -> Earnings:
    """Return what a host has earned up to now, line by line."""
    now = clock.epoch()
    meters = Meter.objects.filter(payee__owner_id=owner_id).select_related("wallet")
    lines = [_line(meter, now) for meter in meters.order_by("-started", "kind")]
    return Earnings(sum(line.host_share for line in lines), lines, settings.CURRENCY)


@dataclass(frozen=True)
class Statement:
    """A page of a wallet's transfers, newest first; `next_before` starts the page after it, None: no more."""

    rows: list[Transfer]
    next_before: int | None


def statement_of(
    *, owner_id: uuid.UUID, currency: str | None = None, before: int | None = None, limit: int = 50
) -> Statement:
    """Return the transfers in and out of a person's wallet that are older than the transfer `before`."""
    wallet = find_wallet(owner_id, currency or settings.CURRENCY)
    if wallet.pk is None:
        return Statement([], None)
    rows: list[Transfer] = []
    # One after the other: each side is a range of its own index.
    for mine in (Transfer.objects.filter(src=wallet), Transfer.objects.filter(dst=wallet)):
        older = mine if before is None else mine.filter(pk__lt=before)
        rows += older.select_related("src", "dst", "meter").order_by("-id")[: limit + 1]
    rows.sort(key=lambda row: -row.pk)
    return Statement(rows[:limit], rows[limit - 1].pk if len(rows) > limit else None)


def verify_ledger() -> list[str]:
    """Recompute every balance, hold, line and meter from the transfers; return what does not add up."""
    return queries.problems() + invoice_problems()
