"""Write docs/states.md: every state machine of the platform, drawn from its table."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from core.machine import Table

HEAD = """# States and the legal moves between them

Made from the tables in each app's `machine.py` by `./run schema`; do not edit. A move that is not
drawn here raises `IllegalMove`, whoever asks for it.
"""


class Command(BaseCommand):
    help = "Write the diagrams of all state machines as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write them")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        parts = [
            f"## {table.name}\n\n```mermaid\n{table.to_mermaid()}\n```\n" for table in tables()
        ]
        file.write_text("\n".join([HEAD, *parts]))


def tables() -> list[Table[Any]]:
    """Return every state machine of our own apps, in the order of the apps and of their files."""
    found: list[Table[Any]] = []
    for app in apps.get_app_configs():
        ours = Path(app.path).parent == settings.BASE_DIR
        if ours and importlib.util.find_spec(f"{app.name}.machine"):
            module = importlib.import_module(f"{app.name}.machine")
            found += [each for each in vars(module).values() if isinstance(each, Table)]
    return found
