"""The doors of a rental's price: page and API show both prices, what silence means, and take the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
import time_machine

from core.ids import new_id
from hostagent.protocol import WorkloadState
from rentals import probing, services
from rentals.models import PriceChange, Rental
from rentals.tests.test_prices import DAY, NEW, NOTICE, TERM, Priced
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Priced]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Priced(drain, traveller)


@pytest.fixture
def asked(scene: Priced) -> Priced:
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE)
    return scene


def path(rental: Rental) -> str:
    return f"/api/v1/rentals/{rental.pk}/price/"


def text(answer: object) -> str:
    content: bytes = answer.content  # type: ignore[attr-defined]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", content.decode()))


SENTENCE = (
    "From 21 Dec, 12:00 UTC on it costs $0.103 an hour instead of $0.0514, if you accept that. "
    "Without your answer it stops then and its disk is kept for $0.0337 a day."
)


def test_the_api_tells_the_price_that_waits_and_takes_a_yes(asked: Priced) -> None:
    client = api_of(asked.alice)
    data = client.get(path(asked.rental)).json()["data"]
    pending = data["pending"]
    assert (data["until"], pending["from"]) == ("2026-12-21T12:00:00Z", "2026-12-21T12:00:00Z")
    assert (pending["kind"], pending["state"]) == ("next_term", "proposed")
    assert pending["old"]["compute_hourly"] == "0.0500004"
    assert pending["new"]["compute_hourly"] == "0.1000008"
    assert pending["sentence"] == SENTENCE
    body = {"change_id": pending["id"], "answer": "accept"}
    data = client.post(path(asked.rental), body, "json").json()["data"]
    assert data["pending"]["state"] == "accepted"
    asked.go_to(TERM)
    data = client.get(path(asked.rental)).json()["data"]
    assert (data["pending"], data["history"][0]["state"]) == (None, "applied")
    assert data["price"]["compute_hourly"] == "0.1000008"
    whole = client.get(f"/api/v1/rentals/{asked.rental.pk}/").json()["data"]
    assert whole["price_until"] == "2027-01-20T12:00:00Z"
    assert (whole["pending_price"], whole["egress_per_gb"]) == (None, "0.00")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"change_id": "x", "answer": "accept"},
        {"change_id": str(new_id()), "answer": "maybe"},
        {"change_id": str(new_id())},
    ],
)
def test_an_answer_that_is_none_changes_nothing(asked: Priced, body: dict[str, str]) -> None:
    answer = api_of(asked.alice).post(path(asked.rental), body, "json")
    assert refusal(answer) == (400, "invalid")
    assert asked.pending().state == "proposed"


def test_strangers_and_the_host_are_told_that_there_is_no_such_rental(asked: Priced) -> None:
    body = {"change_id": str(asked.pending().pk), "answer": "accept"}
    for who in (asked.bob, cast.person("carol")):
        assert refusal(api_of(who).get(path(asked.rental))) == (404, "rental_unknown")
        answer = api_of(who).post(path(asked.rental), body, "json")
        assert refusal(answer) == (404, "rental_unknown")
    assert asked.pending().state == "proposed"


def test_the_page_shows_both_prices_and_what_silence_means_and_takes_both_answers(
    asked: Priced,
) -> None:
    browser = pages_of(asked.alice)
    address = f"/rentals/{asked.rental.pk}/"
    page = text(browser.get(address))
    for words in ("Another price waits for your answer", SENTENCE, "Refuse it", "$0.1028"):
        assert words in page, words
    form = {"change": str(asked.pending().pk), "answer": "refuse"}
    page = text(browser.post(f"{address}price/", form, follow=True))
    assert "You refused that: it stops then" in page
    assert "Refuse it" not in page
    page = text(browser.post(f"{address}price/", {**form, "answer": "accept"}, follow=True))
    assert "New price accepted" in page
    assert "You accepted $0.103 an hour instead of $0.0514" in page
    assert "Price accepted: $0.103 an hour instead of $0.0514" in page
    asked.go_to(TERM)
    assert "Another price waits" not in text(browser.get(address))
    nonsense = browser.post(f"{address}price/", {"change": "x", "answer": "accept"})
    assert (nonsense.status_code, b"price_unknown" in nonsense.content) == (404, True)


def test_the_page_of_what_stands_still_says_what_starts_it_again(asked: Priced) -> None:
    asked.go_to(TERM)
    asked.says(WorkloadState.STOPPED)
    asked.go_to(TERM + DAY)
    page = text(pages_of(asked.alice).get(f"/rentals/{asked.rental.pk}/"))
    assert "Its price lock ended and the new price was not accepted." in page
    assert "was locked until 21 Dec, 12:00 UTC and is $0.103 now. Accept that to start it" in page
    assert "Refuse it" not in page


def test_a_host_asks_for_a_raise_by_api_and_reads_what_became_of_it(scene: Priced) -> None:
    body = {"compute_hourly": "0.10", "storage_gb_monthly": "0.10"}
    answer = api_of(scene.bob).post(f"{path(scene.rental)}raise/", body, "json")
    assert answer.status_code == 201
    out = answer.json()["data"]
    assert (out["kind"], out["state"]) == ("raise_inside_the_lock", "proposed")
    assert out["answer_until"] == "2026-11-24T12:00:00Z"
    assert out["sentence"] == (
        "Its host asks for $0.101 an hour instead of $0.0514, from the moment you accept it. "
        "Without an answer by 24 Nov, 12:00 UTC nothing changes."
    )
    for wrong in ({**body, "compute_hourly": "-1"}, {**body, "compute_hourly": "NaN"}, {}):
        refused = api_of(scene.bob).post(f"{path(scene.rental)}raise/", wrong, "json")
        assert refusal(refused) == (400, "invalid")
    stranger = api_of(cast.person("carol")).post(f"{path(scene.rental)}raise/", body, "json")
    assert refusal(stranger) == (404, "rental_unknown")
    assert PriceChange.objects.count() == 1


def test_a_host_asks_for_a_raise_on_a_page(scene: Priced) -> None:
    browser = pages_of(scene.bob)
    address = f"/rentals/{scene.rental.pk}/raise/"
    assert address in browser.get(f"/fleet/{scene.rental.node_id}/").content.decode()
    assert "costs $0.0514 an hour, locked until" in text(browser.get(address))
    form = {"compute_hourly": "0.10", "storage_gb_monthly": "0.10"}
    page = text(browser.post(address, form, follow=True))
    assert "$0.1014 an hour is asked for" in page
    assert scene.pending().compute_rate == NEW
    assert pages_of(scene.alice).get(address).status_code == 404
    page = text(pages_of(scene.alice).get(f"/rentals/{scene.rental.pk}/"))
    assert "Its host asks for $0.101 an hour instead of $0.0514" in page
    services.answer_price(
        actor=scene.alice,
        rental_id=scene.rental.pk,
        change_id=scene.pending().pk,
        accept=False,
    )
    page = text(pages_of(scene.alice).get(f"/rentals/{scene.rental.pk}/"))
    assert "Price refused: $0.101 an hour instead of $0.0514" in page
    assert "Another price waits" not in page


def test_an_end_date_is_named_when_renting(scene: Priced) -> None:
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    quote = services.quote_offer(
        actor=scene.alice, offer_id=scene.offer.pk, template_id=cast.template().pk
    )
    body = {"quote_id": str(quote.pk), "ends_at": "2027-01-20T00:00:00Z"}
    client = api_of(scene.alice)
    answer = client.post(
        "/api/v1/rentals/", {**body, "ends_at": "2026-11-20T00:00:00Z"}, "json",
        headers={"Idempotency-Key": "x"},
    )  # fmt: skip
    assert refusal(answer) == (400, "ends_at_range")
    answer = client.post("/api/v1/rentals/", body, "json", headers={"Idempotency-Key": "y"})
    data = answer.json()["data"]
    assert (data["ends_at"], data["price_until"]) == (body["ends_at"], body["ends_at"])
