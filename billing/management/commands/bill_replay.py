"""Recompute a rental's bill from the audit log and compare it with the ledger; exit 1 when they differ."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import services
from billing.services import Charge
from core import money


class Command(BaseCommand):
    help = "Recompute a bill from the audit log and compare it with what was posted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rental", type=uuid.UUID, help="the rental's id")
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, rental: uuid.UUID, json: bool, **options: Any) -> None:
        charges = services.derive_charges(subject_id=rental)
        if not charges:
            raise CommandError(f"{rental} has no meters: nothing was ever billed for it.")
        for charge in charges:
            self.stdout.write(_as_json(charge) if json else _as_words(charge))
        wrong = [charge for charge in charges if not charge.agrees]
        if wrong:
            first = wrong[0]
            raise CommandError(
                f"{len(wrong)} of {len(charges)} lines differ; the first: {first.kind} from "
                f"{first.opened}: the log says {_used(first)}, the ledger {first.posted.amount} "
                f"nano-units ({first.posted.share} of them to the host)."
            )
        if not json:
            total = money.decimal_string(sum(_used(charge) for charge in charges))
            self.stdout.write(f"{len(charges)} lines, {total}: log and ledger agree.")


def _used(charge: Charge) -> int:
    """Return what the log says should be in the ledger."""
    return charge.amount - charge.on_the_line


def _as_words(charge: Charge) -> str:
    until = "now" if charge.closed is None else str(charge.closed)
    return (
        f"{charge.kind:<8} {charge.rate} nano/s from {charge.opened} to {until}: "
        f"log {money.decimal_string(_used(charge))}, "
        f"ledger {money.decimal_string(charge.posted.amount)}"
    )


def _as_json(charge: Charge) -> str:
    return json.dumps(
        {
            "kind": charge.kind,
            "rate_nano_per_second": charge.rate,
            "opened": charge.opened,
            "closed": charge.closed,
            "log": money.decimal_string(_used(charge)),
            "ledger": money.decimal_string(charge.posted.amount),
            "not_yet_posted": money.decimal_string(charge.on_the_line),
            "agrees": charge.agrees,
        }
    )
