"""The shop window: what can be rented, and the way into a rental."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts import services as accounts
from accounts.models import User
from core import money
from core.errors import Invalid, NotFound
from marketplace.forms import LaunchForm, MarketForm, search_form
from marketplace.history import USUAL_DAYS
from marketplace.limits import limited
from marketplace.market import models_shown, rows_shown
from nodes import queries
from nodes.models import Offer
from nodes.presenting import search_row
from nodes.search import board
from nodes.search.query import Query, Sort, parse
from rentals import services as rentals
from rentals.models import Template

MODELS_A_PAGE = 25


def offer_face(offer: Offer) -> dict[str, Any]:
    """Return what a page shows of an offer."""
    hardware = f"{offer.gpu_total} × {offer.gpu_model}, " if offer.gpu_total else ""
    rate = offer.compute_rate if offer.gpu_total else max(offer.compute_rate, offer.minimum_rate)
    return {
        "id": offer.pk,
        "name": offer.node.name,
        "hardware": f"{hardware}{offer.cpu_cores} CPU cores",
        "memory_gib": offer.memory_mib // 1024,
        "disk_gb": offer.disk_gb,
        "disk_limit": "enforced" if offer.disk_quota else "soft",
        "isolation": offer.isolation,
        "per": "for each GPU" if offer.gpu_total else "for the whole machine",
        "hourly": money.decimal_string(rate * money.SECONDS_PER_HOUR),
        # On a machine that is rented whole the greater of the two is simply its price.
        "minimum": money.decimal_string(offer.minimum_rate * money.SECONDS_PER_HOUR)
        if offer.gpu_total and offer.minimum_rate > offer.compute_rate
        else "",
        "storage_monthly": money.decimal_string(offer.storage_gb_rate * money.SECONDS_PER_MONTH),
    }


@limited
def landing(request: HttpRequest) -> HttpResponse:
    """What can start now and fits, with everything that can be asked beside it."""
    # A form sends what was left empty, too.
    asked = {
        name: kept for name in request.GET if (kept := [v for v in request.GET.getlist(name) if v])
    }
    status, error = 200, None
    template = _wanted_template(request, asked.pop("template", []))
    try:
        query = parse(asked.items())
    except Invalid as refused:
        status, error, query, asked = refused.status, refused, Query(), {}
    answer = board.search(query)
    if template is not None:
        asked["template"] = [str(template.pk)]
    context = {
        "template": template,
        "error": error,
        "query": query,
        "answer": answer,
        "rows": [search_row(row) for row in answer.rows],
        "best": _best_value(query),
        "form": search_form(asked, answer),
        "next": urlencode({**asked, "after": answer.next}, doseq=True) if answer.next else "",
        "without": [
            {**each, "address": urlencode(_dropped(asked, each["name"]), doseq=True)}
            for each in answer.without
        ],
    }
    return render(request, "marketplace/landing.html", context, status=status)


def _wanted_template(request: HttpRequest, ids: list[str]) -> Template | None:
    """Return the template for which a machine is looked for; raises NotFound for one that cannot be started."""
    if not ids:
        return None
    viewer = accounts.actor_of_request(request) if request.user.is_authenticated else None
    with suppress(ValueError):
        startable = rentals.startable_templates(actor=viewer, also=ids[0])
        if found := startable.filter(pk=uuid.UUID(ids[0])).first():
            return found
    raise NotFound("template_unknown", "There is no such template, or it is not yours to start.")


def _best_value(query: Query) -> str:
    """Return the id of the offer with the most operations for the money of all that fit."""
    best = board.search(replace(query, sort=Sort.VALUE, limit=1, after=-1)).rows
    return best[0]["id"] if best and best[0]["value"] is not None else ""


def _dropped(asked: dict[str, list[str]], field: str) -> dict[str, list[str]]:
    names = {field, f"{field}_min", f"{field}_max", f"{field}_not", "after"}
    kept = {name: values for name, values in asked.items() if name not in names}
    return {**kept, "disk_gb": ["1"]} if field == "disk_gb" else kept


@limited
def market(request: HttpRequest) -> HttpResponse:
    """What each model costs now and has cost: p10, median and p90 of what hosts ask for free cards."""
    form = MarketForm({"days": USUAL_DAYS, **request.GET.dict()})
    asked = form.cleaned_data if form.is_valid() else {}
    days = int(asked.get("days") or USUAL_DAYS)
    names = models_shown(days, asked.get("model", ""))
    after = request.GET.get("after")
    if after is not None:
        names = names[bisect_right(names, after) :]
    shown = names[:MODELS_A_PAGE]
    context = {
        "form": form,
        "days": days,
        "models": rows_shown(days, shown),
        "period": f"{days} days" if days > 1 else "24 hours",
        "next": _next(asked, days, shown[-1]) if len(names) > len(shown) else "",
        "first": after is not None,
    }
    return render(request, "marketplace/market.html", context)


def _next(asked: dict[str, Any], days: int, last: str) -> str:
    return urlencode({"days": days, "model": asked.get("model", ""), "after": last})


@limited
def offer(request: HttpRequest, offer_id: uuid.UUID) -> HttpResponse:
    """One offer, and the form that leads to its exact price."""
    found = queries.listed_offers().filter(pk=offer_id).first()
    if found is None:
        raise NotFound("offer_unknown", "This offer is not listed now. Search again.")
    viewer = accounts.actor_of_request(request) if request.user.is_authenticated else None
    templates = rentals.startable_templates(actor=viewer, also=request.GET.get("template", ""))
    wished = {
        "template": request.GET.get("template"),
        "gpu_count": request.GET.get("gpus") or 1,
        "disk_gb": request.GET.get("disk_gb") or 10,
    }
    form = LaunchForm(request.POST or None, offer=found, templates=templates, initial=wished)
    if request.method == "POST" and form.is_valid():
        quote = rentals.quote_offer(
            actor=accounts.actor_of_request(request),
            offer_id=found.pk,
            template_id=form.cleaned_data["template"].pk,
            gpu_count=form.cleaned_data.get("gpu_count"),
            disk_gb=form.cleaned_data["disk_gb"],
        )
        return redirect("quote", quote.pk)
    has_key = isinstance(request.user, User) and bool(
        accounts.ssh_keys_of(actor=accounts.actor_of_request(request))
    )
    context = {"offer": offer_face(found), "form": form, "has_ssh_key": has_key}
    return render(request, "marketplace/offer.html", context)
