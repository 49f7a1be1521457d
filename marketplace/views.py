"""The shop window: what can be rented, and the way into a rental."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts import services as accounts
from accounts.models import User
from core import money
from core.errors import NotFound
from marketplace.forms import LaunchForm
from nodes import queries
from nodes.models import Offer
from rentals import services as rentals


def offer_face(offer: Offer) -> dict[str, Any]:
    """Return what a page shows of an offer."""
    hardware = f"{offer.gpu_total} × {offer.gpu_model}, " if offer.gpu_total else ""
    return {
        "id": offer.pk,
        "name": offer.node.name,
        "hardware": f"{hardware}{offer.cpu_cores} CPU cores",
        "memory_gib": offer.memory_mib // 1024,
        "disk_gb": offer.disk_gb,
        "disk_limit": "enforced" if offer.disk_quota else "soft",
        "isolation": offer.isolation,
        "per": "for each GPU" if offer.gpu_total else "for the whole machine",
        "hourly": money.decimal_string(offer.compute_rate * money.SECONDS_PER_HOUR),
        "storage_monthly": money.decimal_string(offer.storage_gb_rate * money.SECONDS_PER_MONTH),
    }


def landing(request: HttpRequest) -> HttpResponse:
    """What can be rented now."""
    offers = [offer_face(offer) for offer in queries.listed_offers()[:50]]
    return render(request, "marketplace/landing.html", {"offers": offers})


def offer(request: HttpRequest, offer_id: uuid.UUID) -> HttpResponse:
    """One offer, and the form that leads to its exact price."""
    found = queries.listed_offers().filter(pk=offer_id).first()
    if found is None:
        raise NotFound("offer_unknown", "This offer is not listed now. Search again.")
    viewer = accounts.actor_of_request(request) if request.user.is_authenticated else None
    templates = rentals.startable_templates(actor=viewer, also=request.GET.get("template", ""))
    form = LaunchForm(request.POST or None, offer=found, templates=templates)
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
