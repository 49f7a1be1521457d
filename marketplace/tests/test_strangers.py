"""What strangers may ask of the open pages costs little, and each network and person has a limit."""

from __future__ import annotations

import datetime as dt
import secrets

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from core import clock
from marketplace import limits, market
from nodes.models import ModelPrice
from tests import cast

pytestmark = pytest.mark.django_db
PAGE = "/market/"
NOON = "2027-03-01T12:30:00Z"


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    market.forget()


def hours(*models: str, cent: int = 30) -> None:
    """Write down this hour and the one before of these models."""
    now = clock.now().replace(minute=0, second=0, microsecond=0)
    rate = cent * 10_000_000 // 3600
    for model in models:
        for ago in range(2):
            ModelPrice.objects.update_or_create(
                gpu_model=model,
                hour=now - dt.timedelta(hours=ago),
                defaults={"free": 1, "hosts": 3, "p10": rate, "p50": rate, "p90": rate},
            )


def asked(**words: str) -> tuple[str, list[str]]:
    """Ask for the page; return it and the queries that it took."""
    with CaptureQueriesContext(connection) as queries:
        page = Client().get(PAGE, words)
    assert page.status_code == 200
    return page.content.decode(), [each["sql"] for each in queries.captured_queries]


def test_a_page_of_prices_is_made_once_for_everybody_and_anew_after_ten_minutes() -> None:
    with time_machine.travel(NOON, tick=False) as clocks:
        hours("A100", "B200")
        page, queries = asked(days="1")
        assert len(queries) == 3
        assert ("0.3000" in page, "0.5000" in page) == (True, False)
        hours("A100", "C300", cent=50)
        # The same rows serve whoever asks for some of them.
        assert asked(days="1") == (page, [])
        assert asked(days="1", model="a1")[1] == []
        assert asked(days="1", after="A100")[1] == []
        clocks.shift(599)
        assert asked(days="1") == (page, [])
        clocks.shift(1)
        page, queries = asked(days="1")
        assert len(queries) == 3
        assert ("0.5000" in page, "C300" in page) == (True, True)


def test_a_clock_that_was_set_back_does_not_keep_rows_for_ever() -> None:
    with time_machine.travel(NOON, tick=False) as clocks:
        hours("A100")
        asked()
        clocks.shift(-1)
        assert len(asked()[1]) == 3


def test_only_models_that_nobody_has_made_are_made() -> None:
    hours("A100", "B200", "C300")
    asked(model="a100")
    _, queries = asked()
    assert len(queries) == 2
    assert all("B200" in each and "A100" not in each for each in queries)


def test_rows_are_forgotten_when_they_are_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    hours("A100")
    page, _ = asked()
    monkeypatch.setattr(market, "MOST_BYTES", 2 * len(page))
    assert asked() == (page, [])
    hours("B200", "C300", "D400", "E500", "F600", "G700", "H800", "I900")
    everything, _ = asked(days="1")
    assert everything.count("<summary") == 9
    assert len(asked(days="1")[1]) == 2


def test_open_pages_have_a_limit_by_network_and_say_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits.PagesOfNetwork, "rate", "3/min", raising=False)
    monkeypatch.setattr(limits.PagesOfNetwork, "timer", staticmethod(lambda: 1_000_000.0))
    one, other = (Client(REMOTE_ADDR=f"2001:db8:0:{n}::{secrets.token_hex(2)}") for n in (1, 2))
    _, offer = cast.machine(cast.person("bob"), gpus=1)
    pages = ["/", PAGE, f"/offers/{offer.pk}/", "/", PAGE, f"/offers/{offer.pk}/"]
    answers = [one.get(page) for page in pages]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429, 429]
    assert answers[3].headers["Retry-After"] == "21"
    assert b"rate_limited" in answers[3].content
    assert b"Try again in 21 s." in answers[3].content
    assert other.get("/").status_code == 200
    # Signing in is not in the way of it, nor the API.
    assert one.get("/account/login/").status_code == 200
    assert one.get("/api/v1/offers/").status_code == 200


def test_who_has_signed_in_has_a_limit_of_their_own_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits.PagesOfNetwork, "rate", "1/min", raising=False)
    monkeypatch.setattr(limits.PagesOfPerson, "rate", "2/min", raising=False)
    for each in (limits.PagesOfNetwork, limits.PagesOfPerson):
        monkeypatch.setattr(each, "timer", staticmethod(lambda: 1_000_000.0))
    address = f"2001:db8::{secrets.token_hex(2)}"
    alice, carol = Client(REMOTE_ADDR=address), Client(REMOTE_ADDR=address)
    for client, name in ((alice, "alice"), (carol, "carol")):
        client.force_login(User.objects.get(pk=cast.person(name).user_id))
    assert [alice.get("/").status_code for _ in range(3)] == [200, 200, 429]
    assert carol.get("/").status_code == 200
    alice.logout()
    assert [alice.get(PAGE).status_code for _ in range(2)] == [200, 429]
