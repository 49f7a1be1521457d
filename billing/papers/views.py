"""Pages of statements and invoices."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.services import actor_of_request
from billing import services
from billing.forms import DetailsForm
from billing.models import Side
from billing.papers.pdf import pdf_answer
from billing.papers.presenting import (
    currency_from,
    invoice_out,
    line_out,
    month_from,
    month_out,
    side_from,
)
from billing.presenting import cursor_from
from core import clock

PAGE = 24


@login_required
def statements(request: HttpRequest) -> HttpResponse:
    """Every month that is over, and the one that goes on."""
    actor = actor_of_request(request)
    which: Any = {
        "actor": actor,
        "side": side_from(request.GET.get("side")),
        "currency": currency_from(request.GET.get("currency")),
    }
    rows = [month_out(each) for each in services.months_of(**which)]
    context = {
        "rows": rows,
        "side": which["side"].value,
        "currency": which["currency"],
        "sides": [side.value for side in Side],
        "currencies": services.currencies(),
        "this_month": f"{services.month_of(clock.now()):%Y-%m}",
    }
    return render(request, "billing/statements.html", context)


@login_required
def statement(request: HttpRequest, month: str) -> HttpResponse:
    """One month: opening, sums by kind, closing, movements."""
    actor = actor_of_request(request)
    which: Any = {
        "actor": actor,
        "month": month_from(month),
        "side": side_from(request.GET.get("side")),
        "currency": currency_from(request.GET.get("currency")),
    }
    found = services.month_out_of(**which)
    page = services.month_lines(**which, before=cursor_from(request.GET.get("before")))
    context = {
        "month": month_out(found),
        "lines": [line_out(row, actor.user_id, found.side) for row in page.rows],
        "next": page.next_before,
    }
    return render(request, "billing/statement.html", context)


@login_required
def invoices(request: HttpRequest) -> HttpResponse:
    """Every invoice and credit note, and whom the next one is made out to."""
    actor = actor_of_request(request)
    form = DetailsForm(
        request.POST or None,
        initial=services.buyer_out(services.details_of(owner_id=actor.user_id)),
    )
    if request.method == "POST" and form.is_valid():
        services.set_details(actor=actor, **form.cleaned_data)
        messages.success(request, "Your next invoices are made out like this.")
        return redirect("invoices")
    page = services.invoices_of(actor=actor, before=request.GET.get("before"), limit=PAGE)
    context = {
        "rows": [invoice_out(each) for each in page.rows],
        "next": page.next,
        "form": form,
    }
    return render(request, "billing/invoices.html", context)


@login_required
def invoice(request: HttpRequest, invoice_id: uuid.UUID) -> HttpResponse:
    """One invoice as a page that prints."""
    found = services.invoice_of(actor=actor_of_request(request), invoice_id=invoice_id)
    context = {"invoice": found, "data": found.data}
    return render(request, "billing/invoice.html", context)


@login_required
def invoice_pdf(request: HttpRequest, invoice_id: uuid.UUID) -> HttpResponse:
    """The same as PDF."""
    return pdf_answer(services.invoice_of(actor=actor_of_request(request), invoice_id=invoice_id))
