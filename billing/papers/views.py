"""Pages of statements."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.services import actor_of_request
from billing import services
from billing.models import Side
from billing.papers.presenting import currency_from, line_out, month_from, month_out, side_from
from billing.presenting import cursor_from
from core import clock


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
