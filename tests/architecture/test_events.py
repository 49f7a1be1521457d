"""Every event is somebody's news: nothing is published that nobody hears."""

from __future__ import annotations

import importlib
import importlib.util

from django.apps import apps

from core import outbox
from core.events import Event
from tests.architecture.test_rules import PLATFORM

# Events that nobody has to hear, each with the reason. There is none.
UNHEARD: dict[str, str] = {}


def events() -> list[type[Event]]:
    """Return every event of the platform's apps."""
    homes = {f"{config.name}.events" for config in apps.get_app_configs()}
    for home in homes:
        if home.partition(".")[0] in PLATFORM and importlib.util.find_spec(home) is not None:
            importlib.import_module(home)
    # Tests have events of their own.
    return [kind for kind in Event.__subclasses__() if kind.__module__ in homes]


def test_every_event_has_somebody_who_hears_it() -> None:
    found = events()
    assert len(found) >= 30
    silent = {kind.topic for kind in found if not outbox.handlers_of(kind)}
    assert silent == UNHEARD.keys()


def test_no_two_events_have_one_topic() -> None:
    topics = [kind.topic for kind in events()]
    assert len(topics) == len(set(topics))
