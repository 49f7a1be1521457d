"""Recompute the audit chain; exit 1 with the first bad rows when something was changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import services
from audit.models import AuditSeal


class Command(BaseCommand):
    help = "Verify the audit log's hash chain."

    def handle(self, *args: Any, **options: Any) -> None:
        problems = services.verify()
        if problems:
            raise CommandError("\n".join(problems[:20]))
        self.stdout.write(f"{AuditSeal.objects.count()} events, chain intact.")
