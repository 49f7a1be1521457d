"""Pages of a host's machines."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from accounts.actors import Actor
from accounts.services import actor_of_request
from core import clock, money
from core.errors import Conflict, Invalid, NotFound
from core.pages import page_of
from nodes import services
from nodes.forms import ManyPricesForm, NodeKeyForm, PricesForm, SmartPriceForm
from nodes.machine import NodeStatus
from nodes.models import Allocation, Node, NodeKey, SmartPrice, Workload
from nodes.presenting import an_hour, hidden_out, offer_of, rank_out, smart_out, what_if

# What the form of smart pricing proposes, in percent: some room is left for whoever comes next.
USUAL_TARGET = 75
PAGE_ROWS = 50
TONES = {
    NodeStatus.ONLINE: "usable",
    NodeStatus.BUSY: "usable",
    NodeStatus.MAINTENANCE: "neutral",
    NodeStatus.DRAINING: "waiting",
    NodeStatus.SUSPECT: "waiting",
    NodeStatus.OFFLINE: "failed",
}


def _machines(actor: Actor) -> list[dict[str, Any]]:
    machines = Node.objects.visible_to(actor).select_related("offer").order_by("name")
    open_ones = Allocation.objects.filter(node__in=machines, released_at=None)
    rented = Counter(open_ones.values_list("node_id", flat=True))
    return [_row(node, rented[node.pk]) for node in machines]


def _row(node: Node, rented: int) -> dict[str, Any]:
    offer = offer_of(node)
    rate = offer.compute_rate if offer else 0
    failing = [check["check"] for check in node.checks if not check["passed"]]
    return {
        "node": node,
        "tone": TONES[NodeStatus(node.status)],
        "memory_gib": node.memory_mib // 1024,
        "hidden": hidden_out(offer),
        "rank": rank_out(offer),
        "rented": rented,
        "hourly": money.decimal_string(rate * money.SECONDS_PER_HOUR),
        "checks": f"not met: {', '.join(failing)}" if failing else "all pass",
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
        "keys": _open_keys(actor),
        "server": settings.DC.public_url,
    }
    return render(request, "nodes/fleet.html", context)


def _open_keys(actor: Actor) -> list[NodeKey]:
    """Keys that a machine uses or still can."""
    usable = Q(node__isnull=False) | Q(expires_at__gt=clock.now())
    keys = NodeKey.objects.visible_to(actor).filter(usable, revoked_at=None)
    return list(keys.select_related("node").order_by("-created_at")[:100])


@login_required
@require_POST
def node_key_revoke(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Make a node key useless."""
    services.revoke_node_key(actor=actor_of_request(request), key_id=key_id)
    return redirect("fleet")


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
    before = request.GET.get("before")
    page = page_of(Workload.objects.filter(node=node), before=before, limit=PAGE_ROWS)
    tone = TONES[NodeStatus(node.status)]
    hidden = hidden_out(offer_of(node))
    context = {
        "node": node,
        "tone": tone,
        "form": form,
        "workloads": page.rows,
        "next": page.next,
        "before": before,
        "hidden": hidden,
        "smart_on": SmartPrice.objects.filter(node=node, on=True).exists(),
    }
    return render(request, "nodes/machine.html", context)


@login_required
def fleet_prices(request: HttpRequest) -> HttpResponse:
    """The same prices for several machines: on all that are ticked, or on none."""
    actor = actor_of_request(request)
    actor.require("node:manage")
    mine = Node.objects.filter(owner_id=actor.user_id).order_by("name")
    form = ManyPricesForm(request.POST or None, machines=mine)
    refused, changed, status = None, None, 200
    if request.method == "POST" and form.is_valid():
        asked = dict(form.cleaned_data)
        ids = [node.pk for node in asked.pop("machines")]
        try:
            changed = services.set_prices_of_many(
                actor=actor, node_ids=ids, prices=services.Prices(**asked)
            )
        except (Conflict, Invalid) as error:
            refused, status = error, error.status
    ticked = set(request.POST.getlist("machines"))
    context = {
        "form": form,
        "refused": refused,
        "changed": changed,
        "machines": [
            {"node": node, "ticked": str(node.pk) in ticked, **_prices(node)}
            for node in mine[: services.MOST_AT_ONCE]
        ],
        "most": services.MOST_AT_ONCE,
    }
    return render(request, "nodes/prices.html", context, status=status)


@login_required
def smart_price(request: HttpRequest, node_id: uuid.UUID) -> HttpResponse:
    """What smart pricing would ask now and why, for wishes that are written down or only tried, and its switch."""
    actor = actor_of_request(request)
    actor.require("node:manage")
    node = Node.objects.visible_to(actor).filter(pk=node_id).first()
    if node is None:
        raise NotFound("node_unknown", "You have no such machine.")
    smart = SmartPrice.objects.filter(node=node).first()
    form = SmartPriceForm(request.POST or None, initial=_wishes(node, smart))
    wishes, refused, status = None, None, 200
    if request.method == "POST" and form.is_valid():
        do = request.POST.get("do", "preview")
        try:
            wishes = services.wishes_from(**form.cleaned_data)
            if do in {"on", "off"}:
                services.set_smart_price(
                    actor=actor, node_id=node_id, on=do == "on", **form.cleaned_data
                )
                return redirect("smart_price", node_id)
        except Invalid as error:
            refused, status = error, error.status
    preview = services.preview_smart_price(actor=actor, node_id=node_id, wishes=wishes)
    context = {
        "node": node,
        "form": form,
        "refused": refused,
        "smart": smart_out(smart, preview),
        "rented_hours": _hours(preview.seen.rented) if preview else None,
        "heard_hours": _hours(preview.seen.heard) if preview else None,
        "tried": wishes is not None,
        "steps": what_if(preview) if preview else [],
        "per": "of one GPU" if services.rate_column(node) == "gpu_rate" else "of the machine",
    }
    return render(request, "nodes/smart_price.html", context, status=status)


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:.1f}"


def _wishes(node: Node, smart: SmartPrice | None) -> dict[str, Any]:
    """Return the wishes that are written down, or what a host may begin with: half to twice of what it asks."""
    if smart is None:
        rate = max(2, getattr(node, services.rate_column(node)))
        floor, ceiling, target = rate // 2, 2 * rate, USUAL_TARGET
    else:
        floor, ceiling, target = smart.floor_rate, smart.ceiling_rate, smart.target_bp // 100
    bounds = {"floor_hourly": an_hour(floor), "ceiling_hourly": an_hour(ceiling)}
    return {**bounds, "target_percent": target}


@login_required
@require_POST
def machine_drain(request: HttpRequest, node_id: uuid.UUID) -> HttpResponse:
    """Take no new rentals, or take them again."""
    draining = request.POST.get("draining") == "yes"
    services.drain_node(actor=actor_of_request(request), node_id=node_id, draining=draining)
    return redirect("machine", node_id)


def _prices(node: Node) -> dict[str, str]:
    return {
        "gpu_hourly": money.decimal_string(node.gpu_rate * money.SECONDS_PER_HOUR),
        "cpu_node_hourly": money.decimal_string(node.cpu_node_rate * money.SECONDS_PER_HOUR),
        "minimum_hourly": money.decimal_string(node.minimum_rate * money.SECONDS_PER_HOUR),
        "storage_gb_monthly": money.decimal_string(node.storage_gb_rate * money.SECONDS_PER_MONTH),
    }
