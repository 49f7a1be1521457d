"""Serve the gate that frps asks before it opens anything."""

from __future__ import annotations

from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand

from nodes import gate


class Command(BaseCommand):
    help = "Serve the gate that authorises every tunnel (frps's HTTP plugin)."

    def handle(self, *args: Any, **options: Any) -> None:
        uvicorn.run(
            gate.application,
            host=settings.DC.gate_host,
            port=settings.DC.gate_port,
            log_config=None,
            access_log=False,
        )
