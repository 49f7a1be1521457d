"""Pages of a host's machines."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.actors import Actor
from accounts.services import actor_of_request
from core import money
from core.errors import NotFound
from nodes import services
from nodes.forms import NodeKeyForm, PricesForm
from nodes.models import Allocation, Node, Offer, Workload


def _machines(actor: Actor) -> list[dict[str, Any]]:
    return [_row(node) for node in Node.objects.visible_to(actor).order_by("name")]


def _row(node: Node) -> dict[str, Any]:
    offer = Offer.objects.filter(node=node).first()
    rate = offer.compute_rate if offer else 0
    failing = [check["check"] for check in node.checks if not check["passed"]]
    return {
        "node": node,
        "listed": "yes"
        if offer and offer.listed
        else f"no: {offer.hidden_because}"
        if offer
        else "no",
        "rented": Allocation.objects.filter(node=node, released_at=None).count(),
        "hourly": money.decimal_string(rate * money.SECONDS_PER_HOUR),
        "checks": ", ".join(failing) or "all pass",
    }


@login_required
def fleet(request: HttpRequest) -> HttpResponse:
    """Every machine, and the way to add one."""
    actor = actor_of_request(request)
    actor.require("node:manage")
    form = NodeKeyForm(request.POST or None)
    plain = ""
    if request.method == "POST" and form.is_valid():
        _, plain = services.create_node_key(actor=actor, name=form.cleaned_data["name"])
    context = {
        "machines": _machines(actor),
        "form": form,
        "plain": plain,
        "server": settings.DC.public_url,
    }
    return render(request, "nodes/fleet.html", context)


@login_required
def fleet_fragment(request: HttpRequest) -> HttpResponse:
    """The table of machines, which changes."""
    actor = actor_of_request(request)
    actor.require("node:manage")
    return render(request, "nodes/_fleet.html", {"machines": _machines(actor)})


@login_required
def machine(request: HttpRequest, node_id: uuid.UUID) -> HttpResponse:
    """One machine: prices, checks, what runs on it."""
    actor = actor_of_request(request)
    actor.require("node:manage")
    node = Node.objects.visible_to(actor).filter(pk=node_id).first()
    if node is None:
        raise NotFound("node_unknown", "You have no such machine.")
    form = PricesForm(request.POST or None, initial=_prices(node))
    if request.method == "POST" and form.is_valid():
        services.set_prices(actor=actor, node_id=node.pk, **form.cleaned_data)
        return redirect("machine", node.pk)
    workloads = Workload.objects.filter(node=node).order_by("-created_at")[:50]
    context = {"node": node, "form": form, "workloads": workloads}
    return render(request, "nodes/machine.html", context)


def _prices(node: Node) -> dict[str, str]:
    return {
        "gpu_hourly": money.decimal_string(node.gpu_rate * money.SECONDS_PER_HOUR),
        "cpu_node_hourly": money.decimal_string(node.cpu_node_rate * money.SECONDS_PER_HOUR),
        "storage_gb_monthly": money.decimal_string(node.storage_gb_rate * money.SECONDS_PER_MONTH),
    }
