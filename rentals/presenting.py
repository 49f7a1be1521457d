"""Templates, quotes and rentals as the API tells them: exact amounts, instants in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from billing.models import Refund
from billing.presenting import refund_out
from core import clock, money
from core.tables import cents
from rentals import services
from rentals.launch import as_json
from rentals.models import (
    Preflight,
    PriceChange,
    Quote,
    Rental,
    Start,
    Template,
    TemplateVersion,
)
from rentals.services.explaining import Explained, Gap, Line
from rentals.services.presenting import ActionOut, price_out, ssh_port
from rentals.services.timeline import Step


def template_out(template: Template) -> dict[str, Any]:
    """Return a template as a list shows it."""
    return {
        "id": str(template.pk),
        "slug": template.slug,
        "name": template.name,
        "description": template.description,
        "visibility": template.visibility,
        "official": template.owner_id is None,
        "latest": template.latest,
        "created_at": template.created_at,
        "archived": template.archived_at is not None,
    }


def version_out(version: TemplateVersion) -> dict[str, Any]:
    """Return a version with its whole document; `POST /templates/` of `document` makes it again, exactly."""
    return {
        "template": template_out(version.template),
        "version": version.number,
        "created_at": version.created_at,
        "document": as_json(services.document_of(version)),
    }


def quote_out(quote: Quote) -> dict[str, Any]:
    return {
        "id": str(quote.pk),
        "offer_id": str(quote.offer_id),
        "template_id": str(quote.version.template_id),
        "template_version": quote.version.number,
        "gpu_count": quote.gpu_count,
        "disk_gb": quote.disk_gb,
        "price": price_out(quote.compute_rate, quote.storage_rate),
        "reads_secrets": services.secrets_read(quote.version.spec),
        "secrets_to_agree": services.secrets_to_agree(quote),
        "expires_at": quote.expires_at,
    }


def preflight_out(flight: Preflight) -> dict[str, Any]:
    """Return a pre-flight: its verdict, every check, and the prediction with its parts."""
    return {
        "id": str(flight.pk),
        "offer_id": str(flight.offer_id),
        "image": flight.image,
        "digest": flight.digest or None,
        "gpu_count": flight.gpu_count,
        "disk_gb": flight.disk_gb,
        "verdict": flight.verdict,
        "checks": flight.checks,
        "prediction": {
            **flight.prediction,
            "formula": services.FORMULA,
            "sentence": services.prediction_sentence(flight.prediction),
        },
        "created_at": flight.created_at,
    }


def start_out(rental: Rental) -> dict[str, Any] | None:
    """Return how the first start went, in seconds, beside its prediction; None for one that nobody timed."""
    start: Start | None = getattr(rental, "start", None)
    if start is None:
        return None
    return {
        "digest": start.digest or None,
        "predicted_seconds": _seconds(start.predicted_ms),
        "seconds": _seconds(start.ready_ms),
        "reserved_seconds": _seconds(start.reserved_ms),
        "pulling_seconds": _seconds(start.pulling_ms),
        "starting_seconds": _seconds(start.starting_ms),
        "prediction": start.prediction,
    }


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def price_change_out(rental: Rental, change: PriceChange) -> dict[str, Any]:
    """Return another price of a rental, asked for or in force, with both prices."""
    return {
        "id": str(change.pk),
        "kind": "next_term" if change.at_term else "raise_inside_the_lock",
        "state": change.state,
        "old": price_out(change.old_compute_rate, change.old_storage_rate),
        "new": price_out(change.compute_rate, change.storage_rate),
        "from" if change.at_term else "answer_until": change.starts_at,
        "proposed_at": change.created_at,
        "answered_at": change.answered_at,
        "sentence": services.price_sentence(rental, change),
    }


def _pending_out(rental: Rental, change: PriceChange | None) -> dict[str, Any] | None:
    """Return the price that waits for its renter or for its day, if there is one."""
    return None if change is None else price_change_out(rental, change)


def price_history_out(rental: Rental) -> dict[str, Any]:
    """Return what a rental costs, until when, and its last hundred other prices, newest first."""
    changes = PriceChange.objects.filter(rental=rental).order_by("-created_at", "-pk")[:100]
    return {
        "price": price_out(rental.compute_rate, rental.storage_rate),
        "since": rental.price_since,
        "until": rental.price_until,
        "pending": _pending_out(rental, services.pending_price(rental)),
        "history": [price_change_out(rental, change) for change in changes],
    }


def rentals_out(rentals: Sequence[Rental]) -> list[dict[str, Any]]:
    """Return rentals as `rental_out` does, in as many queries for all of them as for one."""
    facts = services.facts_of(rentals)
    return [rental_out(rental, facts[rental.pk]) for rental in rentals]


def rental_out(rental: Rental, facts: services.Facts | None = None) -> dict[str, Any]:
    """Return a rental as its renter sees it."""
    facts = facts or services.facts_of([rental])[rental.pk]
    told = services.describe(rental, facts)
    return {
        "id": str(rental.pk),
        "state": rental.state,
        "label": told.label,
        "sentence": told.sentence,
        "actions": [
            _action_out(rental, action) for action in services.rental_actions(rental, facts)
        ],
        "node_name": rental.node.name,
        "template": rental.version.template.slug,
        "template_id": str(rental.version.template_id),
        "template_version": rental.version.number,
        "gpu_count": rental.gpu_count,
        "disk_gb": rental.disk_gb,
        "ssh": _ssh_out(rental),
        "ports": rental.ports,
        **_price_fields(rental, facts),
        "pull": {"current": told.pull_current, "total": told.pull_total},
        "created_at": rental.created_at,
        "phase_since": rental.phase_since,
        "phase_deadline": services.deadline_of(rental),
        **_limit_fields(rental),
        "checkpoint": {
            "command": rental.checkpoint_command,
            "seconds": rental.checkpoint_seconds,
        },
        "sent_bytes": facts.sent_bytes,
        "running_since": rental.running_since,
        "start": start_out(rental),
        "unreachable_since": rental.unreachable_since,
        "ended_at": rental.ended_at,
        "end": rental.end,
        "cost_so_far": money.decimal_string(facts.spent),
    }


def _ssh_out(rental: Rental) -> dict[str, Any]:
    return {
        "host": rental.ssh_host,
        "port": ssh_port(rental),
        "user": rental.version.spec.ssh_user,
        "command": services.ssh_command(rental),
    }


def _price_fields(rental: Rental, facts: services.Facts) -> dict[str, Any]:
    return {
        "price": price_out(rental.compute_rate, rental.storage_rate),
        "price_until": rental.price_until,
        "pending_price": _pending_out(rental, facts.pending),
        # `sent_bytes` of it so far.
        "egress_per_gb": "0.00",
    }


def _limit_fields(rental: Rental) -> dict[str, Any]:
    cap = rental.spend_cap
    return {
        "ends_at": rental.ends_at,
        "spend_cap": None if cap is None else money.decimal_string(cap),
        "idle_minutes": rental.idle_minutes,
        "idle_since": rental.idle_since,
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


def bill_out(bill: Explained, given: Sequence[Refund]) -> dict[str, Any]:
    """Return a bill: every line is rate x seconds, exactly, and names what began and ended it.

    `given` are the refunds and credits of the rental; `left` is the total less what they gave back.
    """
    back = sum(each.amount for each in given)
    return {
        "rental_id": str(bill.rental_id),
        "currency": bill.currency,
        "as_of": clock.from_epoch(bill.as_of),
        "total": money.decimal_string(bill.total),
        "in_ledger": money.decimal_string(bill.posted),
        "not_yet_in_ledger": money.decimal_string(bill.on_the_line),
        "host_share": money.decimal_string(bill.host_share),
        "fee": money.decimal_string(bill.fee),
        "agrees_with_ledger": bill.agrees,
        "lines": [line_out(line) for line in bill.lines],
        "not_billed": [gap_out(gap) for gap in bill.gaps],
        "given_back": [refund_out(each) for each in given],
        "given_back_total": money.decimal_string(back),
        "left": money.decimal_string(bill.total - back),
    }


def line_out(line: Line) -> dict[str, Any]:
    """Return one line of a bill; `started` and `ended` in epoch seconds, `from` and `to` as instants."""
    charge = line.charge
    return {
        "id": str(charge.meter_id),
        "kind": charge.kind,
        "rate_nano_per_second": charge.rate,
        "hourly": money.decimal_string(charge.rate * money.SECONDS_PER_HOUR),
        "seconds": charge.seconds,
        "started": charge.opened,
        "ended": charge.closed,
        "from": clock.from_epoch(charge.opened),
        "to": None if charge.closed is None else clock.from_epoch(charge.closed),
        "amount": money.decimal_string(charge.amount),
        "host_share": money.decimal_string(charge.host_share),
        "fee": money.decimal_string(charge.fee),
        "in_ledger": money.decimal_string(charge.posted.amount),
        "not_yet_in_ledger": money.decimal_string(charge.on_the_line),
        "opened_by": None if line.opened_by is None else step_out(line.opened_by),
        "closed_by": None if line.closed_by is None else step_out(line.closed_by),
        "ended_words": line.ended_words,
        "paid_back": [
            {
                "transfer": back.transfer_id,
                "reverses": back.original,
                "kind": back.kind,
                "from": clock.from_epoch(back.start),
                "to": clock.from_epoch(back.end),
                "seconds": back.end - back.start,
                "amount": money.decimal_string(back.amount),
            }
            for back in charge.paid_back
        ],
    }


def gap_out(gap: Gap) -> dict[str, Any]:
    """Return an interval that was not billed, with what was seen at its ends."""
    return {
        "kind": gap.kind,
        "from": clock.from_epoch(gap.start),
        "to": None if gap.end is None else clock.from_epoch(gap.end),
        "seconds": (clock.epoch() if gap.end is None else gap.end) - gap.start,
        "words": gap.words,
        "evidence": [
            {"words": each.words, "at": each.at, "noticed": each.noticed} for each in gap.evidence
        ],
    }


BILL_COLUMNS = (
    "line",
    "kind",
    "from",
    "to",
    "seconds",
    "rate_nano_per_second",
    "amount",
    "amount_cents",
    "host_share",
    "fee",
    "in_ledger",
    "currency",
    "began_by",
    "ended_by",
)


def bill_rows(bill: Explained, given: Sequence[Refund]) -> list[list[object]]:
    """Return the lines of a bill as rows of a table, then the total; amount_cents adds up, too.

    What was given back of it follows with a minus, and then what is left.
    """
    in_cents = cents([line.charge.amount for line in bill.lines])
    rows = [_row(bill, line, rounded) for line, rounded in zip(bill.lines, in_cents, strict=True)]
    total: dict[str, object] = {
        "line": "total",
        "amount": money.decimal_string(bill.total),
        "amount_cents": cents([bill.total])[0],
        "host_share": money.decimal_string(bill.host_share),
        "fee": money.decimal_string(bill.fee),
        "in_ledger": money.decimal_string(bill.posted),
        "currency": bill.currency,
    }
    table = [*rows, total, *_given_rows(bill, given)]
    return [[row.get(column) for column in BILL_COLUMNS] for row in table]


def _given_rows(bill: Explained, given: Sequence[Refund]) -> list[dict[str, object]]:
    if not given:
        return []
    left = bill.total - sum(each.amount for each in given)
    amounts = [-each.amount for each in given] + [left]
    names = [(str(each.pk), each.kind, each.created_at.isoformat(), each.reason) for each in given]
    return [
        {
            "line": name,
            "kind": kind,
            "from": at,
            "amount": money.decimal_string(amount),
            "amount_cents": cents([amount])[0],
            "currency": bill.currency,
            "began_by": why,
        }
        for (name, kind, at, why), amount in zip(
            [*names, ("left", None, None, None)], amounts, strict=True
        )
    ]


def _row(bill: Explained, line: Line, rounded: str) -> dict[str, object]:
    told = line_out(line)
    return {
        **told,
        "line": told["id"],
        "from": told["from"].isoformat(),
        "to": told["to"] and told["to"].isoformat(),
        "amount_cents": rounded,
        "currency": bill.currency,
        "began_by": line.opened_by and line.opened_by.words,
        "ended_by": line.ended_words,
    }
