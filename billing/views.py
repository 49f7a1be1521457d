"""Pages of one's own money."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.actors import Actor
from accounts.services import actor_of_request
from billing import reconcile, services
from billing.forms import DepositForm, PayoutForm, TopUpForm
from billing.machine import DepositState
from billing.presenting import (
    DEPOSIT_WORDS,
    balance_out,
    cursor_from,
    deposit_out,
    fees_out,
    host_balance_out,
    line_out,
    movement_out,
    payout_out,
    place_day_out,
    return_out,
    top_up_out,
    transfer_out,
)
from billing.providers import Forged, provider
from billing.providers.fake import FakeProvider
from core import clock, money
from core.errors import DomainError, NotFound
from core.ids import new_id

log = logging.getLogger(__name__)

USUAL_TOP_UP = {"threshold": "5", "amount": "20", "month_max": "100"}


@login_required
def wallet(request: HttpRequest) -> HttpResponse:
    """What there is, what is set aside, the latest movements, and the way to pay in."""
    actor = actor_of_request(request)
    form = DepositForm(request.POST or None, initial={"idempotency_key": str(new_id())})
    if request.method == "POST" and form.is_valid():
        made = services.request_deposit(
            actor=actor,
            amount=services.parse_deposit(form.cleaned_data["amount"]),
            idempotency_key=form.cleaned_data["idempotency_key"],
            remember=form.cleaned_data["remember"],
        )
        reconcile.open_checkout(made.pk)
        return redirect("deposit", made.pk)
    balance = services.balance_of(owner_id=actor.user_id)
    page = services.statement_of(
        owner_id=actor.user_id, before=cursor_from(request.GET.get("before"))
    )
    fills = top_up_out(services.top_up_of(actor=actor))
    context = {
        "top_up": fills,
        "top_up_form": TopUpForm(initial=USUAL_TOP_UP | fills),
        "total": money.decimal_string(balance.total),
        "available": money.decimal_string(balance.available),
        "locked": money.decimal_string(balance.locked),
        "hourly": money.decimal_string(balance.burn * money.SECONDS_PER_HOUR),
        "runs_out": clock.from_epoch(balance.runs_out) if balance.runs_out else None,
        "form": form,
        "wallets": [balance_out(each) for each in services.balances_of(owner_id=actor.user_id)],
        "owed": money.decimal_string(max(0, services.owed_by(owner_id=actor.user_id))),
        "frozen": balance.frozen,
        "deposits": [deposit_out(row) for row in services.deposits_of(actor=actor)[:10]],
        "rows": [transfer_out(row, actor.user_id) for row in page.rows],
        "next": page.next_before,
    }
    return render(request, "billing/wallet.html", context)


@login_required
@require_POST
def top_up(request: HttpRequest) -> HttpResponse:
    """Let one's wallet fill itself, or no longer."""
    actor = actor_of_request(request)
    if "stop" in request.POST:
        services.stop_auto_top_up(actor=actor)
        return redirect("wallet")
    actor.require("wallet:deposit")
    said = request.POST
    services.set_auto_top_up(
        actor=actor,
        threshold=services.parse_limit(said.get("threshold", "")),
        amount=services.parse_deposit(said.get("amount", "")),
        month_max=services.parse_limit(said.get("month_max", "")),
        saved=reconcile.remembered_method(actor=actor),
    )
    return redirect("wallet")


@login_required
def movement(request: HttpRequest, transfer_id: int) -> HttpResponse:
    """One movement: how its amount comes about."""
    actor = actor_of_request(request)
    found = services.explain_transfer(actor=actor, transfer_id=transfer_id)
    return render(
        request, "billing/movement.html", {"movement": movement_out(found, actor.user_id)}
    )


@login_required
def deposit(request: HttpRequest, deposit_id: uuid.UUID) -> HttpResponse:
    """One deposit: where to pay it, and what came of it."""
    found = services.deposit_of(actor=actor_of_request(request), deposit_id=deposit_id)
    tone = DEPOSIT_WORDS[DepositState(found.state)][2]
    context = {
        "deposit": deposit_out(found),
        "tone": tone,
        "returns": [return_out(row) for row in services.returns_of(deposit_id=found.pk)],
    }
    return render(request, "billing/deposit.html", context)


@login_required
def fake_checkout(request: HttpRequest, deposit_id: uuid.UUID) -> HttpResponse:
    """The checkout of the provider that pretends: a button that pays without money."""
    found = services.deposit_of(actor=actor_of_request(request), deposit_id=deposit_id)
    fake = provider()
    if not isinstance(fake, FakeProvider):
        raise NotFound("payments_real", "Payments are real here.")
    if request.method == "POST":
        body = fake.paid(deposit_id=found.pk, amount=found.amount, currency=found.currency)
        event = fake.read_event(body=body, signature=fake.sign(body))
        services.apply_event(provider=fake.name, event=event)
        return redirect("deposit", found.pk)
    return render(request, "billing/fake_checkout.html", {"deposit": deposit_out(found)})


@csrf_exempt
@require_POST
def webhook(request: HttpRequest, name: str) -> JsonResponse:
    """A provider's signed message. 2xx: understood, do not send it again."""
    taker = provider()
    if taker.name != name:
        return JsonResponse({"code": "provider_unknown"}, status=404)
    signature = request.headers.get("Stripe-Signature") or request.headers.get("X-Signature", "")
    try:
        event = taker.read_event(body=request.body, signature=signature)
        outcome = services.apply_event(provider=name, event=event)
    except Forged as error:
        log.warning("webhook of %s refused: %s", name, error)
        return JsonResponse({"code": "signature_wrong"}, status=400)
    except DomainError as error:
        return JsonResponse({"code": error.code}, status=error.status)
    return JsonResponse({"outcome": outcome})


NamePlaces = Callable[[Actor, Iterable[uuid.UUID]], Mapping[uuid.UUID, str]]


@login_required
def earnings(request: HttpRequest, name_places: NamePlaces) -> HttpResponse:
    """What one's machines have earned, line by line, what of it is free, and the way to be paid.

    `name_places` gives the names of machines that a person has; the site's addresses pass it.
    """
    actor = actor_of_request(request)
    actor.require("earnings:read")
    form = PayoutForm(request.POST or None, initial={"idempotency_key": str(new_id())})
    if request.method == "POST" and form.is_valid():
        services.request_payout(
            actor=actor,
            amount=services.parse_payout(form.cleaned_data["amount"]),
            destination=form.cleaned_data["destination"],
            idempotency_key=form.cleaned_data["idempotency_key"],
        )
        return redirect("earnings")
    earned = services.earnings_of(owner_id=actor.user_id)
    balance = services.host_balance_of(owner_id=actor.user_id)
    days = services.earned_by_day(owner_id=actor.user_id)
    names = name_places(actor, [row.place_id for row in days if row.place_id])
    context = {
        "balance": host_balance_out(balance),
        "form": form,
        "fees": fees_out(),
        "least": money.human_string(services.least_payout()),
        "payouts": [payout_out(row) for row in services.payouts_of(actor=actor)[:10]],
        "days": [
            place_day_out(row) | {"name": names.get(row.place_id) if row.place_id else None}
            for row in days
        ],
        "total": money.decimal_string(earned.total),
        "lines": [line_out(line) for line in earned.lines],
    }
    return render(request, "billing/earnings.html", context)


@login_required
@require_POST
def cancel_payout(request: HttpRequest, payout_id: uuid.UUID) -> HttpResponse:
    """Take a payout back that is not on its way."""
    services.cancel_payout(actor=actor_of_request(request), payout_id=payout_id)
    return redirect("earnings")
