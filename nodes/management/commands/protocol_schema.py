"""Write docs/protocol.schema.json: everything that travels between the platform and its agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hostagent.protocol.messages import json_schema


class Command(BaseCommand):
    help = "Write the JSON Schema of the agent protocol."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        file.write_text(json.dumps(json_schema(), indent=2) + "\n")
