"""The page of the search, as it is without JavaScript."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from accounts import services as accounts
from nodes.market import Offer
from rentals import services as rentals
from rentals.launch import read_document
from tests import cast
from tests.doors import pages_of

pytestmark = pytest.mark.django_db


def page(**asked: Any) -> str:
    answer = Client().get("/", asked)
    assert answer.status_code == 200
    return unescape(re.sub(r"\s+", " ", answer.content.decode()))


def test_it_shows_what_can_start_now_at_the_price_for_my_disk_and_my_hours() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    shown = page(gpus="2", disk_gb="50", hours="8", gpu_model="", country="")
    assert "Can start now: 1" in shown
    assert "2 × RTX 4090" in shown
    # 2 cards and 50 GB: $0.6070176 an hour, eight times as much for the hours.
    assert 'title="exactly $0.6070176"' in shown
    assert '<td class="number" title="exactly $4.8561408">4.8561</td>' in shown
    assert "$ for 8 h" in shown
    assert f"/offers/{offer.pk}/?gpus=2&disk_gb=50" in shown
    assert '<option value="RTX 4090" >RTX 4090 (1)</option>' in shown
    assert "★ best value" in shown


def test_the_best_value_is_the_one_of_all_that_fit() -> None:
    bob = cast.person("bob")
    for name in ("dear", "cheap"):
        cast.machine(bob, gpus=1, name=name)
    Offer.objects.filter(node__name="dear").update(compute_rate=500_000)
    assert page().count("★") == 1
    assert "★" not in page(sort="reliability", country="NO")
    Offer.objects.update(gflops=None)
    assert "★" not in page()


def test_pages_promise_nothing_about_billing_that_a_silent_container_would_break() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=1)
    answer = Client().get(f"/offers/{offer.pk}/")
    promise = "nothing until it answers, and nothing while the machine or its address is down."
    for shown in (page(), re.sub(r"\s+", " ", answer.content.decode())):
        assert promise in shown
        assert "only while it answers" not in shown


def test_when_nothing_fits_it_offers_to_drop_the_filter_that_excludes_most() -> None:
    cast.machine(cast.person("bob"), gpus=1)
    shown = page(gpu_model="RTX 4090", region="Europe", disk_gb="10")
    assert "Nothing that fits can start right now" in shown
    assert (
        '<a href="?gpu_model=RTX+4090&disk_gb=10">Without <strong>region</strong></a>: 1 would fit'
        in shown
    )
    assert '<option value="Europe" selected>Europe (0)</option>' in shown


def test_a_filter_without_a_field_of_its_own_is_kept_and_named() -> None:
    cast.machine(cast.person("bob"), gpus=1)
    shown = page(cuda_min="1200")
    assert '<input type="hidden" name="cuda_min" value="1200">' in shown
    assert "Can start now: 0" in shown


def test_nonsense_is_said_beside_what_can_start_anyway() -> None:
    cast.machine(cast.person("bob"), gpus=1)
    answer = Client().get("/", {"price_hourly_max": "<b>"})
    assert answer.status_code == 400
    shown = answer.content.decode()
    assert "filter_value" in shown
    assert "Can start now: 1" in shown
    assert "<b>" not in shown


def test_pages_lead_to_the_next_and_back_to_the_first() -> None:
    bob = cast.person("bob")
    for name in ("one", "two"):
        cast.machine(bob, gpus=1, name=name)
    first = page(limit="1")
    [address] = re.findall(r'<a href="\?(limit=1&after=[^"]+)">Next page', first)
    second = Client().get(f"/?{address}").content.decode()
    assert "First page" in second
    assert "Next page" not in second


def test_the_way_to_an_offer_keeps_the_size_that_was_asked_for() -> None:
    alice = cast.person("alice")
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    shown = pages_of(alice).get(f"/offers/{offer.pk}/", {"gpus": "2", "disk_gb": "50"}).content
    assert b'name="gpu_count" value="2"' in shown
    assert b'name="disk_gb" value="50"' in shown


def test_a_machine_for_a_template_is_large_enough_and_is_rented_with_it() -> None:
    _, small = cast.machine(cast.person("bob"), gpus=1, name="small")
    _, large = cast.machine(cast.person("bob"), gpus=2, name="large")
    alice = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    launch = {
        "image": "ghcr.example/team/train:1",
        "disk_gb": 30,
        "minimum": {"gpus": 2, "vram_mib": 20_000},
    }
    own = rentals.create_template(
        actor=alice, document=read_document({"name": "Train", "launch": launch})
    )
    browser = pages_of(alice)
    told = browser.get(f"/templates/{own.pk}/").content.decode()
    [address] = re.findall(r'href="(/\?[^"]+)"', told)
    shown = browser.get(unescape(address)).content.decode()
    assert "For the template <strong>Train</strong>" in shown
    assert "Can start now: 1" in shown
    assert str(small.pk) not in shown
    [rent] = re.findall(rf'href="(/offers/{large.pk}/[^"]+)"', shown)
    form = browser.get(unescape(rent)).context["form"]
    assert (form["template"].value(), form["disk_gb"].value()) == (str(own.pk), "30")
    # The next question is asked for the template, too.
    assert f'<input type="hidden" name="template" value="{own.pk}">' in shown


def test_a_template_that_cannot_be_started_is_refused_by_name() -> None:
    own = cast.person("alice")
    private = rentals.create_template(
        actor=own,
        document=read_document({"name": "Secret", "launch": {"image": "ghcr.example/a:1"}}),
    )
    for asked in (str(private.pk), "nothing", "00000000-0000-0000-0000-000000000000"):
        answer = pages_of(cast.person("carol")).get("/", {"template": asked})
        assert answer.status_code == 404
        assert b"There is no such template" in answer.content
