"""Templates, quotes and rentals as the API tells them: exact amounts, instants in UTC."""

from __future__ import annotations

from typing import Any

from billing import services as billing
from core import money
from rentals import services
from rentals.models import Quote, Rental, Template
from rentals.services.presenting import ActionOut, price_out, ssh_port
from rentals.services.timeline import Step


def template_out(template: Template) -> dict[str, Any]:
    return {
        "id": str(template.pk),
        "slug": template.slug,
        "name": template.name,
        "description": template.description,
        "image": template.image,
        "ports": template.ports,
        "ssh_port": template.ssh_port,
        "default_disk_gb": template.default_disk_gb,
        "official": template.owner_id is None,
    }


def quote_out(quote: Quote) -> dict[str, Any]:
    return {
        "id": str(quote.pk),
        "offer_id": str(quote.offer_id),
        "template_id": str(quote.template_id),
        "gpu_count": quote.gpu_count,
        "disk_gb": quote.disk_gb,
        "price": price_out(quote.compute_rate, quote.storage_rate),
        "expires_at": quote.expires_at,
    }


def rental_out(rental: Rental) -> dict[str, Any]:
    """Return a rental as its renter sees it."""
    told = services.describe(rental)
    return {
        "id": str(rental.pk),
        "state": rental.state,
        "label": told.label,
        "sentence": told.sentence,
        "actions": [_action_out(rental, action) for action in services.rental_actions(rental)],
        "node_name": rental.node.name,
        "template": rental.template.slug,
        "gpu_count": rental.gpu_count,
        "disk_gb": rental.disk_gb,
        "ssh": {
            "host": rental.ssh_host,
            "port": ssh_port(rental),
            "user": "root",
            "command": services.ssh_command(rental),
        },
        "ports": rental.ports,
        "price": price_out(rental.compute_rate, rental.storage_rate),
        "pull": {"current": told.pull_current, "total": told.pull_total},
        "created_at": rental.created_at,
        "phase_since": rental.phase_since,
        "phase_deadline": services.deadline_of(rental),
        "ends_at": rental.ends_at,
        "spend_cap": None if rental.spend_cap is None else money.decimal_string(rental.spend_cap),
        "running_since": rental.running_since,
        "unreachable_since": rental.unreachable_since,
        "ended_at": rental.ended_at,
        "end": rental.end,
        "cost_so_far": money.decimal_string(billing.bill_of(subject_id=rental.pk).total),
    }


def _action_out(rental: Rental, action: ActionOut) -> dict[str, str]:
    return {
        "name": action.name,
        "label": action.full,
        "consequence": action.consequence,
        "method": "POST",
        "url": f"/api/v1/rentals/{rental.pk}/{action.name}/",
    }


def step_out(step: Step) -> dict[str, Any]:
    """Return one event of a timeline."""
    return {
        "at": step.at,
        "event": step.verb,
        "words": step.words,
        "actor": {"kind": step.by, "name": step.who},
        "reason": step.reason,
    }
