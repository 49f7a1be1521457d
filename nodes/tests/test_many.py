"""What hosts with many machines ask: no question to the database is asked once for each machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.money import rate_from_hourly
from nodes.models import Node
from nodes.search import board
from tests import cast
from tests.doors import api_of, pages_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_look_a_question(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the search read its snapshot only when a test makes it forget."""
    monkeypatch.setattr(settings, "DC", settings.DC.model_copy(update={"search_seconds": 600.0}))
    yield
    board.forget()


def asked(call: Callable[[], object]) -> int:
    """Return how many questions a call asks the database."""
    board.forget()
    with CaptureQueriesContext(connection) as seen:
        call()
    return len(seen)


@pytest.mark.parametrize("path", ["/fleet/", "/fleet/fragment/", "/api/v1/nodes/"])
def test_a_list_of_machines_asks_no_more_for_twelve_than_for_two(path: str) -> None:
    bob = cast.person("bob")
    door = api_of(bob) if path.startswith("/api") else pages_of(bob)
    counts = []
    for count in (2, 12):
        while Node.objects.count() < count:
            cast.machine(bob, gpus=1, name=f"atlas-{Node.objects.count():02d}")
        assert door.get(path).status_code == 200
        counts.append(asked(lambda: door.get(path)))
    assert counts[0] == counts[1]


def test_prices_of_many_ask_little_for_each_machine() -> None:
    bob = cast.person("bob")
    door, counts = api_of(bob), []
    for count in (2, 12):
        while Node.objects.count() < count:
            cast.machine(bob, gpus=1, name=f"atlas-{Node.objects.count():02d}")
        price = f"0.{count:02d}"

        def publish(gpu_hourly: str = price) -> None:
            body = {"all": True, "gpu_hourly": gpu_hourly}
            answer = door.post("/api/v1/nodes/prices/", body, "json")
            assert len(answer.json()["data"]) == Node.objects.count()

        counts.append(asked(publish))
        rate = rate_from_hourly(Decimal(price))
        assert set(Node.objects.values_list("gpu_rate", "offer__compute_rate")) == {(rate, rate)}
    # The machine, its offer, what is told to pages, and what is written into the audit log.
    assert (counts[1] - counts[0]) / 10 == 4
