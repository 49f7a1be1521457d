"""Pages of a renter's machines."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from accounts import services as accounts
from accounts.actors import Actor
from accounts.services import actor_of_request
from billing import services as billing
from core import clock, money
from core.errors import Invalid, NotFound
from core.ids import new_id
from core.pages import page_of
from nodes import services as nodes
from rentals import preflight, services
from rentals.forms import CheckpointForm, LimitsForm, RaiseForm
from rentals.models import Preflight, Quote, Rental
from rentals.presenting import bill_out
from rentals.services.presenting import price_out

PAGE_ROWS = 100
VERBS = {
    "stop": services.stop_rental,
    "start": services.start_rental,
    "restart": services.restart_rental,
    "end": services.end_rental,
}


def _mine(actor: Actor, rental_id: uuid.UUID) -> Rental:
    found = Rental.objects.of_renter(actor).select_related("node", "version")
    rental = found.filter(pk=rental_id).first()
    if rental is None:
        raise NotFound("rental_unknown", "You have no such rental.")
    return rental


@login_required
def rentals(request: HttpRequest) -> HttpResponse:
    """Everything this person has rented, newest first, page by page."""
    found = Rental.objects.of_renter(actor_of_request(request)).select_related("node", "version")
    before = request.GET.get("before")
    page = page_of(found, before=before, limit=PAGE_ROWS)
    facts = services.facts_of(page.rows)
    rows = [
        {
            "rental": rental,
            "told": services.describe(rental, facts[rental.pk]),
            "cost": money.decimal_string(facts[rental.pk].spent),
        }
        for rental in page.rows
    ]
    context = {"rentals": rows, "next": page.next, "before": before}
    return render(request, "rentals/list.html", context)


@login_required
def quote(request: HttpRequest, quote_id: uuid.UUID) -> HttpResponse:
    """The exact price, and the button that rents."""
    actor = actor_of_request(request)
    if request.method == "POST":
        rental = services.request_rental(
            actor=actor,
            quote_id=quote_id,
            ssh_key_ids=None,
            idempotency_key=request.POST.get("idempotency_key", ""),
            changes=services.Changes(agreed=request.POST.getlist("agreed_secrets")[:64]),
        )
        return redirect("rental", rental.pk)
    found = Quote.objects.select_related("version__template", "offer__node")
    shown = found.filter(pk=quote_id, user_id=actor.user_id).first()
    if shown is None:
        raise NotFound("quote_unknown", "You have no such quote. Ask for the price again.")
    flight = services.newest_preflight(shown)
    if flight is not None and flight.created_at < shown.created_at:
        # It was for an earlier quote: what must be downloaded, and what is free, may have changed.
        flight = None
    context = {
        "quote": shown,
        "node_name": shown.offer.node.name,
        "price": price_out(shown.compute_rate, shown.storage_rate),
        **_launch(shown, flight),
    }
    return render(request, "rentals/quote.html", context)


def _launch(quote: Quote, flight: Preflight | None) -> dict[str, Any]:
    """What stands before the button that rents, and whether it may be pressed."""
    told = {
        "flight": flight,
        "quote_id": quote.pk,
        "reads_secrets": services.secrets_read(quote.version.spec),
        "foreign": bool(services.secrets_to_agree(quote)),
        "idempotency_key": str(new_id()),
    }
    if flight is not None:
        told["prediction"] = services.prediction_sentence(flight.prediction)
    return told


@login_required
@require_POST
def quote_preflight(request: HttpRequest, quote_id: uuid.UUID) -> HttpResponse:
    """Look at everything that can be known before money moves; then the button, or what to mend."""
    actor = actor_of_request(request)
    plan = services.plan_preflight_of_quote(actor=actor, quote_id=quote_id)
    flight = preflight.run(actor=actor, plan=plan)
    if "HX-Request" not in request.headers:
        return redirect("quote", quote_id)
    quoted = Quote.objects.select_related("version__template").get(pk=quote_id)
    return render(request, "rentals/_launch.html", _launch(quoted, flight))


def _instance(actor: Actor, rental: Rental) -> dict[str, Any]:
    own = services.is_own(actor, rental)
    balance = billing.balance_of(owner_id=rental.renter_id)
    bill = billing.bill_of(subject_id=rental.pk)
    facts = services.facts_of([rental])[rental.pk]
    told, sent = services.describe(rental, facts), facts.sent_bytes
    actions = services.rental_actions(rental, facts)
    return {
        "rental": rental,
        "told": told,
        "ssh_command": services.ssh_command(rental),
        "hourly": price_out(rental.compute_rate, rental.storage_rate)["hourly"],
        "cost": money.decimal_string(bill.total),
        "cap": rental.spend_cap and money.decimal_string(rental.spend_cap),
        "burn": sum(line.rate for line in bill.lines if line.ended is None),
        "available": money.decimal_string(balance.available),
        "own": own,
        "actions": [each for each in actions if own or each.name in services.OF_STAFF],
        "logs": nodes.last_words(workload_id=rental.workload_id) if own else None,
        "timeline": services.timeline(rental),
        "origin": settings.DC.public_url,
        "sent_gb": None if sent is None else f"{sent / 1e9:.2f}",
        **_price(rental),
    }


def _price(rental: Rental) -> dict[str, Any]:
    """The price that waits for an answer or its day, as the banner shows it."""
    change = None if rental.state == "ended" else services.pending_price(rental)
    if change is None:
        return {"pending": None}
    return {
        "pending": change,
        "pending_sentence": services.price_sentence(rental, change),
        "pending_new": price_out(change.compute_rate, change.storage_rate)["hourly"],
        "pending_old": price_out(change.old_compute_rate, change.old_storage_rate)["hourly"],
        "can_refuse": change.state == "proposed" and change.starts_at > clock.now(),
    }


def _forms(request: HttpRequest, rental: Rental) -> dict[str, Any]:
    """What can be changed, apart from the part of the page that is fetched again while one types."""
    keys = accounts.ssh_keys_of(actor=actor_of_request(request))
    chosen = [{"key": key, "on": key.public_key in rental.ssh_keys} for key in keys]
    limits = LimitsForm(
        initial={
            "spend_cap": rental.spend_cap and money.decimal_string(rental.spend_cap),
            "idle_minutes": rental.idle_minutes,
        }
    )
    checkpoint = CheckpointForm(
        initial={"command": rental.checkpoint_command, "seconds": rental.checkpoint_seconds}
    )
    once = {"idempotency_key": str(new_id())}
    return {"form": limits, "checkpoint": checkpoint, "keys": chosen, **once}


@login_required
def rental(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """One rental: usable now? connect, money, actions, timeline."""
    actor = actor_of_request(request)
    mine = _mine(actor, rental_id)
    context = {**_instance(actor, mine), **_forms(request, mine)}
    return render(request, "rentals/instance.html", context)


@login_required
def rental_fragment(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """The part of the page that changes."""
    actor = actor_of_request(request)
    return render(request, "rentals/_instance.html", _instance(actor, _mine(actor, rental_id)))


@login_required
@require_POST
def rental_action(request: HttpRequest, rental_id: uuid.UUID, action: str) -> HttpResponse:
    """Do what a button of the page says."""
    actor = actor_of_request(request)
    if action == "recreate":
        confirmed = request.POST.get("confirm") == "yes"
        services.recreate_rental(actor=actor, rental_id=rental_id, confirmed=confirmed)
    elif action in VERBS:
        VERBS[action](actor=actor, rental_id=rental_id)
    else:
        raise NotFound("action_unknown", "There is no such action.")
    return redirect("rental", rental_id)


@login_required
@require_POST
def rental_limits(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Say when the rental stops by itself."""
    actor = actor_of_request(request)
    form = LimitsForm(request.POST)
    if not form.is_valid():
        raise Invalid("limits_unreadable", "Hours, amounts and minutes are numbers, or empty.")
    asked = form.cleaned_data
    hours, cap = asked["hours"], asked["spend_cap"]
    ends_at = None if asked["no_end"] else _mine(actor, rental_id).ends_at
    if hours is not None:
        ends_at = clock.now() + dt.timedelta(hours=float(hours))
    services.set_limits(
        actor=actor,
        rental_id=rental_id,
        ends_at=ends_at,
        spend_cap=None if cap is None else money.nano_from_decimal(cap),
        idle_minutes=asked["idle_minutes"],
    )
    return redirect("rental", rental_id)


@login_required
@require_POST
def rental_extend(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Put the end date off by as many hours as the button says; once for each page, however often it is pressed."""
    hours, key = request.POST.get("hours", ""), request.POST.get("idempotency_key", "")
    if hours not in {"1", "24"}:
        raise Invalid("hours_unreadable", "Extend by 1 or by 24 hours, or set another end.")
    if not key:
        raise Invalid(
            "idempotency_key_missing", "Open the rental's page again and extend it there."
        )
    services.extend_rental(
        actor=actor_of_request(request),
        rental_id=rental_id,
        seconds=int(hours) * money.SECONDS_PER_HOUR,
        # Both buttons of one page may be meant, each of them once.
        idempotency_key=f"{key}:{hours}",
    )
    return redirect("rental", rental_id)


@login_required
@require_POST
def rental_checkpoint(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Say what runs inside before the platform stops it."""
    form = CheckpointForm(request.POST)
    if not form.is_valid():
        raise Invalid("checkpoint_range", "A command has up to 1000 characters and 1 to 600 s.")
    services.set_checkpoint(
        actor=actor_of_request(request),
        rental_id=rental_id,
        command=form.cleaned_data["command"],
        seconds=form.cleaned_data["seconds"],
    )
    return redirect("rental", rental_id)


@login_required
@require_POST
def rental_price(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Accept or refuse the price that waits."""
    try:
        change_id = uuid.UUID(request.POST.get("change", ""))
    except ValueError as error:
        raise NotFound("price_unknown", "There is no such price to answer.") from error
    services.answer_price(
        actor=actor_of_request(request),
        rental_id=rental_id,
        change_id=change_id,
        accept=request.POST.get("answer") == "accept",
    )
    return redirect("rental", rental_id)


@login_required
def rental_raise(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """For hosts: ask the renter for a higher price inside the lock."""
    actor = actor_of_request(request)
    found = Rental.objects.filter(node__owner_id=actor.user_id).select_related("node")
    hosted = found.filter(pk=rental_id).first()
    if hosted is None:
        raise NotFound("rental_unknown", "No such rental runs on a machine of yours.")
    form = RaiseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.offer_raise(actor=actor, rental_id=rental_id, **form.cleaned_data)
        return redirect("rental_raise", rental_id)
    change = services.pending_price(hosted)
    context = {
        "rental": hosted,
        "form": form,
        "price": price_out(hosted.compute_rate, hosted.storage_rate),
        "pending": change,
        "pending_new": change and price_out(change.compute_rate, change.storage_rate),
    }
    return render(request, "rentals/raise.html", context)


@login_required
@require_POST
def rental_keys(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Let the keys in that are ticked."""
    try:
        ids = [uuid.UUID(text) for text in request.POST.getlist("key")]
    except ValueError as error:
        raise Invalid("ssh_key_unknown", "You have no such SSH key.") from error
    services.change_keys(actor=actor_of_request(request), rental_id=rental_id, ssh_key_ids=ids)
    return redirect("rental", rental_id)


@login_required
def rental_bill(request: HttpRequest, rental_id: uuid.UUID) -> HttpResponse:
    """Every line of the bill with its cause, and everything that was not billed."""
    mine = _mine(actor_of_request(request), rental_id)
    bill = bill_out(services.explain(mine), billing.refunds_of(subject_id=mine.pk))
    return render(request, "rentals/bill.html", {"rental": mine, "bill": bill})
