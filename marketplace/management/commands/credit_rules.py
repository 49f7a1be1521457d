"""Write docs/credits.md: which faults are credited by themselves, what of, and who pays for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from rentals.credits import to_markdown

HEAD = """# What is credited for a fault

Made from `rentals/credits.py` by `./run schema`; do not edit. While a machine is silent or the address of a rental
is closed, nothing is billed at all. A credit comes on top, for the work that is lost when a rental goes down by
a fault: it is posted in the same transaction, without a ticket.
"""
TAIL = """
- At most what this rental paid for those seconds, less what was reversed, refunded or credited of them before.
- A credit is for its seconds: when it is learned later that some of them are not billed at all, their part of it is
  taken back, and no more.
- `tunnels_down` ends where our server answered again. A machine whose own tunnel comes back later is unbilled from
  there on. A restart during such an outage is credited when it is decided whether it is billed through.
- Once for each incident, which is the fault and the second at which it happened.
- The host gives back its share and the platform its fee. The host's part comes from earnings that have not
  matured, then from those that have; the rest is a debt, which the next earnings pay, and nothing is paid
  out meanwhile.
- Between accounts of one owner nothing is credited.
- The evidence (fault, interval, last sign of life, the movements that are given back) is kept with the credit, in
  the audit log, on the bill and in `/api/v1/wallet/refunds/`.
- What a renter can cause alone, such as an image without an SSH server, is not credited: the reasons above
  are all there are. A container that its renter starts may be one that he has broken, and an engine that refuses it
  proves nothing: `host_failed` is for what was running. Between the wish for a fresh container and its first answer
  there is no disk that could be lost: the one before was deleted because its renter said so.
"""


class Command(BaseCommand):
    help = "Write the rules of credits as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        file.write_text("\n".join([HEAD, to_markdown(), TAIL]))
