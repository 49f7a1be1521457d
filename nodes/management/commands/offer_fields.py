"""Write docs/offer-fields.md: what renters look for elsewhere, and its name, unit and kind here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from nodes.search.fields import as_markdown


class Command(BaseCommand):
    help = "Write the map of an offer's fields as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        file.write_text(as_markdown())
