"""Pages of one's own money."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.services import actor_of_request
from billing import services
from billing.presenting import line_out, transfer_out
from core import clock, money


@login_required
def wallet(request: HttpRequest) -> HttpResponse:
    """What there is, what is set aside, and the latest movements."""
    actor = actor_of_request(request)
    balance = services.balance_of(owner_id=actor.user_id)
    rows = services.statement_of(owner_id=actor.user_id)
    context = {
        "total": money.decimal_string(balance.total),
        "available": money.decimal_string(balance.available),
        "locked": money.decimal_string(balance.locked),
        "hourly": money.decimal_string(balance.burn * money.SECONDS_PER_HOUR),
        "runs_out": clock.from_epoch(balance.runs_out) if balance.runs_out else None,
        "rows": [transfer_out(row, actor.user_id) for row in rows],
    }
    return render(request, "billing/wallet.html", context)


@login_required
def earnings(request: HttpRequest) -> HttpResponse:
    """What one's machines have earned, line by line."""
    actor = actor_of_request(request)
    actor.require("earnings:read")
    earned = services.earnings_of(owner_id=actor.user_id)
    context = {
        "total": money.decimal_string(earned.total),
        "lines": [line_out(line) for line in earned.lines],
    }
    return render(request, "billing/earnings.html", context)
