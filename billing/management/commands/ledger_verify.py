"""Check every invariant of the ledger; exit 1 with the first bad rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import services
from billing.models import Transfer


class Command(BaseCommand):
    help = "Verify that every balance, hold and meter follows from the transfers."

    def handle(self, *args: Any, **options: Any) -> None:
        problems = services.verify_ledger()
        if problems:
            raise CommandError("\n".join(problems[:20]))
        self.stdout.write(f"{Transfer.objects.count()} transfers, everything adds up.")
