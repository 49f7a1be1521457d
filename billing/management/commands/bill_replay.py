"""Recompute a rental's bill from the audit log and compare it with the ledger; exit 1 when they differ."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import queries
from core import money


class Command(BaseCommand):
    help = "Recompute a bill from the audit log and compare it with what was posted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rental", type=uuid.UUID, help="the rental's id")
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, rental: uuid.UUID, json: bool, **options: Any) -> None:
        lines = queries.replay(subject_id=rental)
        if not lines:
            raise CommandError(f"{rental} has no meters: nothing was ever billed for it.")
        for line in lines:
            self.stdout.write(_as_json(line) if json else _as_words(line))
        wrong = [line for line in lines if not line.agrees]
        if wrong:
            first = wrong[0]
            raise CommandError(
                f"{len(wrong)} of {len(lines)} lines differ; the first: {first.kind} from "
                f"{first.opened}: the log says {first.amount}, the ledger {first.posted} nano-units."
            )
        if not json:
            total = money.decimal_string(sum(line.amount for line in lines))
            self.stdout.write(f"{len(lines)} lines, {total}: log and ledger agree.")


def _as_words(line: queries.Replayed) -> str:
    until = "now" if line.closed is None else str(line.closed)
    return (
        f"{line.kind:<8} {line.rate} nano/s from {line.opened} to {until}: "
        f"log {money.decimal_string(line.amount)}, ledger {money.decimal_string(line.posted)}"
    )


def _as_json(line: queries.Replayed) -> str:
    return json.dumps(
        {
            "kind": line.kind,
            "rate_nano_per_second": line.rate,
            "opened": line.opened,
            "closed": line.closed,
            "log": money.decimal_string(line.amount),
            "ledger": money.decimal_string(line.posted),
            "agrees": line.agrees,
        }
    )
