"""The only way out of a transaction.

1. A service calls `publish(event)` inside its transaction: a row, nothing else happens.
2. On commit a hint asks the worker to drain at once; a sweep by clock drains what a hint lost.
3. `drain` takes due rows one by one with SKIP LOCKED, runs the handlers registered with `@on`, deletes
   the row. A handler that raises leaves the row, due again after 1, 2, 4 ... 300 s; others go on. So does a
   topic that nobody handles, and the log says so.

So an event is handled at least once, in no promised order: handlers re-read the world and repeat safely.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from django.db import transaction
from django.db.models import Q

from core import clock
from core.events import Event
from core.models import OutboxMessage

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
Handler = Callable[[Any], None]

_types: dict[str, type[Event]] = {}
_handlers: dict[str, list[Handler]] = defaultdict(list)
_hints: list[Callable[[], None]] = []

MAX_BACKOFF_SECONDS = 300
# How long a claimed message is left alone; a worker that died while handling it is repeated after this.
CLAIM_SECONDS = 10
# Nothing is ever put off for longer; what is due later than this was written before the clock was set back.
FARTHEST = dt.timedelta(seconds=MAX_BACKOFF_SECONDS + CLAIM_SECONDS)


def on(event_type: type[E]) -> Callable[[Callable[[E], None]], Callable[[E], None]]:
    """Register a handler for an event type; used as a decorator in `<app>/handlers.py`."""

    def register(handler: Callable[[E], None]) -> Callable[[E], None]:
        _types[event_type.topic] = event_type
        if handler not in _handlers[event_type.topic]:
            _handlers[event_type.topic].append(handler)
        return handler

    return register


def handlers_of(event_type: type[Event]) -> list[Handler]:
    """Return who is told of an event."""
    return list(_handlers.get(event_type.topic, ()))


def set_hint(hint: Callable[[], None]) -> None:
    """Say what to call after a commit that published something (the door to the worker)."""
    _hints[:] = [hint]


def publish(event: Event) -> None:
    """Write `event` to the outbox. Must run inside a transaction, or the promise means nothing."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError(f"{event.topic} published outside a transaction")
    now = clock.now()
    OutboxMessage.objects.create(
        topic=event.topic, payload=msgspec.to_builtins(event), created_at=now, due_at=now
    )
    for hint in _hints:
        transaction.on_commit(hint)


def drain(*, limit: int = 500) -> int:
    """Handle up to `limit` due messages; return how many were handled and deleted."""
    done = 0
    for _ in range(limit):
        outcome = _drain_one()
        if outcome is None:
            break
        done += outcome
    return done


def _drain_one() -> int | None:
    """Claim one due message by pushing its due time ahead, run its handlers, delete it.

    The claim is committed before any handler runs, so no lock is held across their work; a worker
    that dies in between leaves the row due again after CLAIM_SECONDS.
    """
    now = clock.now()
    with transaction.atomic():
        message = (
            OutboxMessage.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(Q(due_at__lte=now) | Q(due_at__gt=now + FARTHEST))
            .order_by("due_at", "id")
            .first()
        )
        if message is None:
            return None
        message.attempts += 1
        message.due_at = now + dt.timedelta(seconds=CLAIM_SECONDS)
        message.save(update_fields=["attempts", "due_at"])
    error = _run_handlers(message)
    if error:
        delay = min(2 ** (message.attempts - 1), MAX_BACKOFF_SECONDS)
        OutboxMessage.objects.filter(pk=message.pk).update(
            last_error=error[:2000], due_at=clock.now() + dt.timedelta(seconds=delay)
        )
        return 0
    OutboxMessage.objects.filter(pk=message.pk).delete()
    return 1


def _run_handlers(message: OutboxMessage) -> str:
    event_type = _types.get(message.topic)
    if event_type is None:
        # Kept, not dropped: another version of the program may have written it, and one may know it yet.
        log.error("nobody handles %s: outbox message %s is kept", message.topic, message.pk)
        return f"nobody handles {message.topic}"
    try:
        event = msgspec.convert(message.payload, event_type)
    except msgspec.ValidationError as error:
        return f"{message.topic} cannot be read: {error}"
    errors = []
    for handler in _handlers[message.topic]:
        try:
            handler(event)
        except Exception as error:  # the outer loop: one bad handler must not stop the others
            log.exception("handler %s failed for %s", handler.__qualname__, message)
            errors.append(f"{handler.__module__}.{handler.__qualname__}: {error!r}")
    return "\n".join(errors)
