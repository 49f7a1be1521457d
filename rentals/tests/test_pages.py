"""A renter's pages: what they show, what their buttons do, and that they are nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client

from accounts import services as accounts
from hostagent.protocol import WorkloadState
from rentals import probing
from rentals.models import Quote, Rental
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import pages_of

pytestmark = pytest.mark.django_db
Drain = Callable[[], int]


@pytest.fixture
def scene(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Scene(drain, traveller)


def text(answer: Any) -> str:
    """Return a page as a reader takes it in: no tags, single spaces."""
    plain = re.sub(r"<[^>]*>", " ", answer.content.decode())
    return re.sub(r"\s+", " ", plain)


def path(scene: Scene, tail: str = "") -> str:
    return f"/rentals/{scene.rental.pk}/{tail}"


def test_from_the_offer_to_the_running_machine_without_a_script() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    template = cast.template()
    browser = pages_of(alice)
    assert "atlas-03" in text(browser.get("/"))
    assert "You need an SSH public key first" in text(browser.get(f"/offers/{offer.pk}/"))
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    asked = browser.post(f"/offers/{offer.pk}/", {"template": template.pk, "disk_gb": 20})
    quote = Quote.objects.get()
    assert asked.headers["Location"] == f"/quotes/{quote.pk}/"
    page = browser.get(asked.headers["Location"])
    for words in (
        "Machine $0.0500 an hour",
        "Disk, 20 GB $0.0028 an hour",
        "Together $0.0528 an hour",
    ):
        assert words in text(page), words
    form = {"idempotency_key": page.context["idempotency_key"]}
    rented, again = (browser.post(f"/quotes/{quote.pk}/", form) for _ in range(2))
    rental = Rental.objects.get()
    assert rented.headers["Location"] == f"/rentals/{rental.pk}/"
    assert again.headers["Location"] == f"/rentals/{rental.pk}/"
    assert (rental.disk_gb, rental.renter_id) == (20, alice.user_id)
    shown = text(browser.get(f"/rentals/{rental.pk}/"))
    assert "Reserving" in shown
    # Nobody has counted yet: that is not none.
    assert "Sent, free of charge – " in shown


def test_a_disk_too_large_for_the_offer_is_refused_on_the_page() -> None:
    _, offer = cast.machine(cast.person("bob"))
    form = {"template": cast.template().pk, "disk_gb": 101}
    answer = pages_of(cast.person("alice")).post(f"/offers/{offer.pk}/", form)
    assert answer.status_code == 400
    assert "Ask for 1 to 100 GB on this machine." in text(answer)
    assert not Quote.objects.exists()


def test_a_gpu_machine_asks_for_cards_and_a_cpu_machine_does_not() -> None:
    bob = cast.person("bob")
    _, with_cards = cast.machine(bob, gpus=2, name="cards")
    _, without = cast.machine(bob, name="plain")
    alice = cast.person("alice")
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    browser = pages_of(alice)
    page = browser.get(f"/offers/{with_cards.pk}/")
    assert b'name="gpu_count"' in page.content
    assert "2 × RTX 4090, 8 CPU cores · 16 GiB memory" in text(page)
    assert b'name="gpu_count"' not in browser.get(f"/offers/{without.pk}/").content


def test_a_visitor_sees_the_price_and_has_to_sign_up_to_rent() -> None:
    _, offer = cast.machine(cast.person("bob"))
    visitor = Client()
    page = text(visitor.get(f"/offers/{offer.pk}/"))
    assert "$0.0500 an hour for the whole machine" in page
    assert "Sign up to rent" in page
    form = {"template": cast.template().pk, "disk_gb": 10}
    refused = visitor.post(f"/offers/{offer.pk}/", form)
    assert (refused.status_code, b"auth_required" in refused.content) == (401, True)
    assert not Quote.objects.exists()


def test_an_offer_that_is_gone_says_search_again() -> None:
    _, offer = cast.machine(cast.person("bob"))
    type(offer).objects.update(listed=False, hidden_because="offline")
    answer = Client().get(f"/offers/{offer.pk}/")
    assert answer.status_code == 404
    assert "This offer is not listed now. Search again." in text(answer)


def test_the_page_of_a_rental_shows_address_money_and_history(scene: Scene) -> None:
    scene.traveller.shift(3600)
    browser = pages_of(scene.alice)
    shown = text(browser.get(path(scene)))
    for words in (
        f"ssh -p {scene.rental.ports['22']} root@127.0.0.1",
        "Usable since 21 Nov, 12:00 UTC. $0.0514 an hour, $0.0514 so far",
        "Sent, free of charge 0.00 GB",
        "Reserved",
        "Running",
    ):
        assert words in shown, words
    fragment = text(browser.get(path(scene, "fragment/")))
    assert "$0.0514 so far" in fragment
    assert "Sign out" not in fragment
    listed = text(browser.get("/rentals/"))
    assert "atlas-03" in listed
    bill = browser.get(path(scene, "bill/"))
    assert [(line["kind"], line["seconds"]) for line in bill.context["bill"]["lines"]] == [
        ("compute", 3600),
        ("storage", 3600),
    ]
    assert bill.context["bill"]["total"] in text(bill)


def test_the_buttons_stop_start_and_end(scene: Scene) -> None:
    browser = pages_of(scene.alice)
    for action, state in (("stop", "stopping"), ("start", "starting"), ("end", "stopping")):
        answer = browser.post(path(scene, f"{action}/"))
        assert answer.headers["Location"] == path(scene)
        assert scene.now().state == state
    scene.says(WorkloadState.ABSENT)
    assert "Final bill $0.00." in text(browser.get(path(scene)))
    late = browser.post(path(scene, "stop/"))
    assert late.status_code == 409
    assert scene.now().state == "ended"


def test_a_button_that_does_not_exist_and_a_link_that_is_followed_do_nothing(scene: Scene) -> None:
    browser = pages_of(scene.alice)
    unknown = browser.post(path(scene, "format/"))
    assert (unknown.status_code, b"action_unknown" in unknown.content) == (404, True)
    assert browser.get(path(scene, "end/")).status_code == 405
    assert scene.now().state == "running"


def test_keys_are_ticked_and_nonsense_is_refused(scene: Scene) -> None:
    line = cast.public_ssh_key()
    key = accounts.add_ssh_key(actor=scene.alice, name="desk", public_key=line)
    browser = pages_of(scene.alice)
    ticked = {row["key"].name: row["on"] for row in browser.get(path(scene)).context["keys"]}
    assert ticked == {"laptop": True, "desk": False}
    assert browser.post(path(scene, "keys/"), {"key": [str(key.pk)]}).status_code == 302
    assert scene.now().ssh_keys == [line]
    for wrong, status, code in (
        (["nonsense"], 400, b"ssh_key_unknown"),
        ([str(scene.rental.pk)], 404, b"ssh_key_unknown"),
        ([], 400, b"ssh_key_needed"),
    ):
        answer = browser.post(path(scene, "keys/"), {"key": wrong})
        assert (answer.status_code, code in answer.content) == (status, True), wrong
        assert scene.now().ssh_keys == [line]


@pytest.mark.parametrize("tail", ["", "fragment/", "bill/"])
def test_carol_and_the_host_do_not_see_alices_pages_and_dora_does(scene: Scene, tail: str) -> None:
    for stranger in (cast.person("carol"), scene.bob):
        answer = pages_of(stranger).get(path(scene, tail))
        assert answer.status_code == 404
        assert "You have no such rental." in text(answer)
        assert "root@" not in text(answer)
    dora = cast.person("dora", is_staff=True)
    assert pages_of(dora).get(path(scene, tail)).status_code == 200
    signed_out = Client().get(path(scene, tail))
    assert signed_out.headers["Location"].startswith("/account/login/")


@pytest.mark.parametrize("tail", ["stop/", "end/", "limits/", "keys/"])
def test_carols_forms_change_nothing_of_alices(scene: Scene, tail: str) -> None:
    carol = cast.person("carol")
    key = accounts.add_ssh_key(actor=carol, name="x", public_key=cast.public_ssh_key())
    form = {"hours": "1", "spend_cap": "9", "key": [str(key.pk)]}
    answer = pages_of(carol).post(path(scene, tail), form)
    assert (answer.status_code, b"rental_unknown" in answer.content) == (404, True)
    keys = list(scene.rental.ssh_keys)
    rental = scene.now()
    assert (rental.state, rental.spend_cap, rental.ssh_keys) == ("running", None, keys)


def test_somebody_elses_quote_is_neither_shown_nor_rented() -> None:
    cast.proxy_server()
    alice, carol = cast.person("alice", usd=50), cast.person("carol", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    form = {"template": cast.template().pk, "disk_gb": 10}
    address = pages_of(alice).post(f"/offers/{offer.pk}/", form).headers["Location"]
    for answer in (
        pages_of(carol).get(address),
        pages_of(carol).post(address, {"idempotency_key": "k"}),
    ):
        assert (answer.status_code, b"quote_unknown" in answer.content) == (404, True)
    assert not Rental.objects.exists()
