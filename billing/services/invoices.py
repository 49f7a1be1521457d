"""Invoices for a month's use, and credit notes for what of an invoiced month came back. ADR 18 says why.

A number is taken in the transaction that stores what bears it, so numbers have no gaps. What is issued
never changes: `data` is everything that it says, `sha256` proves it. Amounts in nano-units, in cents.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import queries
from billing.events import InvoiceIssued
from billing.models import Invoice, Month, MonthlyStatement, NumberSeries, Paper, Side, Transfer
from billing.queries import Used, Window
from billing.services.buyers import buyer_out, details_of, tax_for
from core import clock, money, outbox
from core.errors import NotFound
from core.pages import Page, page_of
from core.tables import cents

CENT = money.NANO // 100
PREFIX = {Paper.INVOICE: "INV", Paper.CREDIT_NOTE: "CN"}
# More rentals than this in one month stand in one line together; the statement has them all.
MOST_LINES = 60
# What a position is for: the rental, the kind, the rate.
_Key = tuple[uuid.UUID | None, str, int]
DEMO_SELLER = "Demo operator (not a real seller)"


@dataclass(frozen=True)
class _Draft:
    """What is to be issued to somebody for a month; `corrects` makes it a credit note."""

    statement: MonthlyStatement
    used: list[Used]
    corrects: Invoice | None = None

    @property
    def paper(self) -> Paper:
        return Paper.CREDIT_NOTE if self.corrects else Paper.INVOICE

    @property
    def total(self) -> int:
        return _in_cents(sum(each.amount for each in self.used))


def issue_invoices() -> int:
    """Issue what every stated month calls for, the oldest month first; return how many papers were issued.

    May be killed after any line and be run by many at once.
    """
    done = 0
    waiting = Month.objects.filter(stated_at__isnull=False, invoiced_at=None)
    for month in list(waiting.order_by("month")):
        done += _issue_month(month)
    return done


def _issue_month(month: Month) -> int:
    stated = MonthlyStatement.objects.filter(
        month=month, side=Side.WALLET.value, currency=settings.CURRENCY
    )
    before = Month.objects.filter(month__lt=month.month).order_by("-month").first()
    window, done = Window(month, before), 0
    for statement in stated.order_by("pk").iterator():
        for draft in _drafts(statement, window):
            done += _issue(draft)
    Month.objects.filter(pk=month.pk, invoiced_at=None).update(invoiced_at=clock.now())
    return done


def _drafts(statement: MonthlyStatement, window: Window) -> list[_Draft]:
    """Return the invoice of a month, if there is one, and a credit note for each earlier one it corrects."""
    owner_id, currency = statement.owner_id, statement.currency
    used: Counter[_Key] = Counter()
    for each in queries.used_in(window=window, owner_id=owner_id, currency=currency):
        used[each.subject_id, each.kind, each.rate] += each.amount
    earlier: defaultdict[dt.date, Counter[_Key]] = defaultdict(Counter)
    for back in queries.given_back_in(window=window, owner_id=owner_id, currency=currency):
        meter, month = back.original.meter, _month_with(back.original)
        key = (meter.subject_id, meter.kind, meter.rate) if meter else (None, back.kind, 0)
        if month == statement.month_id:
            used[key] -= back.amount
        elif month is not None:
            earlier[month][key] += back.amount
    notes: list[_Draft] = []
    for month, amounts in sorted(earlier.items()):
        invoice = Invoice.objects.filter(
            owner_id=owner_id, currency=currency, month=month, paper=Paper.INVOICE.value
        ).first()
        # What was too little to be invoiced needs no credit note either.
        if invoice is None:
            continue
        if amounts.total() < 0:
            # More was taken again than came back: it is owed for now, as use is.
            used.subtract(amounts)
        else:
            notes.append(_Draft(statement, _tidy(amounts), invoice))
    drafts = [_Draft(statement, _tidy(used)), *notes]
    return [draft for draft in drafts if draft.total > 0]


def _tidy(amounts: Counter[_Key]) -> list[Used]:
    return [
        Used(subject, kind, rate, amount)
        for (subject, kind, rate), amount in sorted(amounts.items(), key=lambda row: str(row[0]))
        if amount
    ]


def _month_with(transfer: Transfer) -> dt.date | None:
    """Return which closed month a transfer is in, None while its month goes on."""
    holding = Month.objects.filter(ends_at__gt=transfer.created_at, last_transfer__gte=transfer.pk)
    return holding.order_by("month").values_list("month", flat=True).first()


@transaction.atomic
def _issue(draft: _Draft) -> int:
    """Give a draft the next number and store it, unless that has been done; return how many were issued."""
    now, paper, statement = clock.now(), draft.paper, draft.statement
    NumberSeries.objects.get_or_create(paper=paper.value, year=now.year)
    series = NumberSeries.objects.lock().get(paper=paper.value, year=now.year)
    done = Invoice.objects.filter(
        owner_id=statement.owner_id, month=statement.month_id, currency=statement.currency,
        corrects=draft.corrects,
    )  # fmt: skip
    if done.exists():
        return 0
    series.last += 1
    series.save(update_fields=["last"])
    number = f"{PREFIX[paper]}-{now.year}-{series.last:06}"
    data = _data(draft, number, now)
    made = Invoice.objects.create(
        paper=paper.value, year=now.year, seq=series.last, number=number,
        owner_id=statement.owner_id, month_id=statement.month_id, currency=statement.currency,
        total=draft.total, corrects=draft.corrects, data=data, sha256=fingerprint(data),
        issued_at=now,
    )  # fmt: skip
    audit.record(
        actor=Actor.system(),
        verb=f"{paper.value}.issued",
        subject_type="invoice",
        subject_id=made.pk,
        data={"number": number, "total": made.total, "sha256": made.sha256},
    )
    outbox.publish(InvoiceIssued(invoice_id=str(made.pk), owner_id=str(made.owner_id)))
    return 1


def fingerprint(data: dict[str, Any]) -> str:
    """Return the SHA-256 of what an invoice says, as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _data(draft: _Draft, number: str, now: dt.datetime) -> dict[str, Any]:
    env, statement = settings.DC, draft.statement
    buyer = _buyer(statement.owner_id)
    tax = tax_for(country=buyer["country"], vat_id=buyer["vat_id"])
    vat = _in_cents(draft.total * tax.rate // (money.BASIS_POINTS + tax.rate))
    return {
        "number": number,
        "paper": draft.paper.value,
        "issued": now.date().isoformat(),
        "month": f"{statement.month_id:%Y-%m}",
        "currency": statement.currency,
        "corrects": draft.corrects.number if draft.corrects else None,
        "seller": {
            "name": env.seller_name or DEMO_SELLER,
            "address": env.seller_address.replace("|", "\n"),
            "country": env.seller_country,
            "vat_id": env.seller_vat_id,
        },
        "buyer": buyer,
        "lines": _lines(draft.used),
        "net": _two_places(draft.total - vat),
        "vat_percent": f"{Decimal(tax.rate) / 100:f}",
        "vat": _two_places(vat),
        "vat_note": tax.note,
        "total": _two_places(draft.total),
    }


def _buyer(owner_id: uuid.UUID) -> dict[str, str]:
    buyer = buyer_out(details_of(owner_id=owner_id))
    return {**buyer, "email": accounts.email_of(user_id=owner_id)}


def _lines(used: Sequence[Used]) -> list[dict[str, str | int | None]]:
    """Return what stands on the paper, in cents that add up to its total."""
    shown, rest = list(used[:MOST_LINES]), list(used[MOST_LINES:])
    figures = cents(
        [each.amount for each in shown] + ([sum(each.amount for each in rest)] * bool(rest))
    )
    lines: list[dict[str, str | int | None]] = [
        {
            "rental": str(each.subject_id) if each.subject_id else None,
            "what": each.kind,
            "seconds": each.seconds,
            "hourly": money.decimal_string(each.rate * money.SECONDS_PER_HOUR),
            "amount": figure,
        }
        for each, figure in zip(shown, figures, strict=False)
    ]
    if rest:
        what = f"{len(rest)} further positions; the statement of the month has them all"
        lines.append(
            {"rental": None, "what": what, "seconds": 0, "hourly": "0.00", "amount": figures[-1]}
        )
    return lines


def _in_cents(nano: int) -> int:
    """Return an amount rounded to whole cents, half up, in nano-units."""
    return int((Decimal(nano) / CENT).to_integral_value(ROUND_HALF_UP)) * CENT


def _two_places(nano: int) -> str:
    return f"{Decimal(nano) / money.NANO:.2f}"


def invoices_of(*, actor: Actor, before: str | None = None, limit: int = 50) -> Page[Invoice]:
    """Return the actor's invoices and credit notes, the latest first, issued before the one whose id is `before`.

    Raises Invalid `cursor_invalid`.
    """
    actor.require("wallet:read")
    mine = Invoice.objects.filter(owner_id=actor.user_id)
    return page_of(mine, before=before, limit=limit, by="issued_at")


def invoice_of(*, actor: Actor, invoice_id: uuid.UUID) -> Invoice:
    """Return one invoice of the actor (staff: of anybody). Raises NotFound `invoice_unknown`."""
    actor.require("wallet:read")
    found = Invoice.objects.filter(pk=invoice_id)
    if not actor.is_staff:
        found = found.filter(owner_id=actor.user_id)
    invoice = found.first()
    if invoice is None:
        raise NotFound("invoice_unknown", "You have no such invoice.")
    return invoice


def invoice_problems() -> list[str]:
    """Return a sentence for each paper whose content is not what was issued."""
    return [
        f"{invoice}: its content is not what was issued"
        for invoice in Invoice.objects.order_by("pk").iterator()
        if fingerprint(invoice.data) != invoice.sha256
        or invoice.data["total"] != _two_places(invoice.total)
    ]
