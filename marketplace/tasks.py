"""The clock's and the outbox's way into the services."""

from __future__ import annotations

import logging

from celery import shared_task
from kombu.exceptions import OperationalError

from core import idempotency, outbox

log = logging.getLogger(__name__)


@shared_task
def drain_outbox() -> None:
    outbox.drain()


@shared_task
def forget_idempotency_keys() -> None:
    idempotency.forget_keys()


def hint_drain() -> None:
    """Ask the worker to drain now; when the broker is away, the sweep by clock will do it."""
    try:
        drain_outbox.apply_async(expires=10, retry=False)
    except OperationalError as error:
        log.warning("no hint to the worker: %s", error)
