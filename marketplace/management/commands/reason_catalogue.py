"""Write docs/reasons.md: every code of why a rental stopped, ended or never ran, and the deadlines of its phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from marketplace.env import Environment
from rentals.reasons import to_markdown

HEAD = """# Why a rental stopped, ended or never ran

Made from `rentals/reasons.py` by `./run schema`; do not edit. Every `end` of a rental, on its page, in the
API and in its timeline, is `{party, code, message, fault, refund}`. A code never changes its meaning;
messages are for people and may.
"""
DEADLINES = """## How long a phase may last

| phase | seconds | setting | when it is over |
|---|---|---|---|"""
PHASES = (
    ("reserved", "reserve_deadline_seconds", "`reserved_timeout`; nothing is charged"),
    ("pulling", "pull_deadline_seconds", "`pulling_timeout`; nothing is charged"),
    ("starting", "start_deadline_seconds", "`starting_timeout`; work is not charged"),
    ("stopping", "stop_deadline_seconds", "said on the page; work is not charged meanwhile"),
)


class Command(BaseCommand):
    help = "Write the catalogue of reasons as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        fields = Environment.model_fields
        rows = [
            f"| {phase} | {fields[name].default} | `DC_{name.upper()}` | {then} |"
            for phase, name, then in PHASES
        ]
        file.write_text("\n".join([HEAD, to_markdown(), "", DEADLINES, *rows, ""]))
