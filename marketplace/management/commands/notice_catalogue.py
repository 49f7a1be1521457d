"""Write docs/notifications.md: everything that people are told, when, and through which channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.notices import to_markdown

HEAD = """# What people are told

Made from `accounts/notices/` by `./run schema`; do not edit. Each is one notification in the page, a mail, or
both; what is not "always" is switched at `/notifications/choices/` and by `/api/v1/notice-choices/`. Codes never
change their meaning. A thing that happened is told once, however often its event is delivered. Mail goes out in
the time zone that a person chose (else UTC), is tried again after a failure, and says which page it is about.
"""


class Command(BaseCommand):
    help = "Write the catalogue of notices as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        file.write_text("\n".join([HEAD, to_markdown()]))
