"""The clock's way into the sealer."""

from __future__ import annotations

from celery import shared_task

from audit import services


@shared_task
def seal_events() -> None:
    services.seal_new()
