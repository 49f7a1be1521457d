"""Every event is somebody's news: nothing is published that nobody hears, and nothing unknown is dropped."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable

import pytest
from django.apps import apps

from core import clock, outbox
from core.events import Event
from core.models import OutboxMessage
from tests.architecture.test_rules import PLATFORM

# Events that nobody has to hear, each with the reason. There is none.
UNHEARD: dict[str, str] = {}


def events() -> list[type[Event]]:
    """Return every event of the platform's apps."""
    for app in PLATFORM & {config.name for config in apps.get_app_configs()}:
        if importlib.util.find_spec(f"{app}.events") is not None:
            importlib.import_module(f"{app}.events")
    return [kind for kind in Event.__subclasses__() if kind.__module__.split(".")[0] in PLATFORM]


def test_every_event_has_somebody_who_hears_it() -> None:
    found = events()
    assert len(found) >= 30
    silent = {kind.topic for kind in found if not outbox.handlers_of(kind)}
    assert silent == UNHEARD.keys()


def test_no_two_events_have_one_topic() -> None:
    topics = [kind.topic for kind in events()]
    assert len(topics) == len(set(topics))


@pytest.mark.django_db
def test_a_topic_that_nobody_handles_is_kept_and_said_aloud(
    drain: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    now = clock.now()
    OutboxMessage.objects.create(
        topic="billing.of_tomorrow", payload={}, created_at=now, due_at=now
    )
    with caplog.at_level(logging.ERROR, "core.outbox"):
        assert drain() == 0
    row = OutboxMessage.objects.get()
    assert (row.last_error, row.attempts) == ("nobody handles billing.of_tomorrow", 1)
    assert row.due_at > now
    assert "nobody handles billing.of_tomorrow" in caplog.text
