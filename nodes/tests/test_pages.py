"""A host's pages: the fleet, one machine, its prices, and keys that are shown once."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import msgspec
import pytest
import time_machine
from django.test import Client

from core import clock
from core.ids import new_id
from hostagent.protocol import SelfTestResult, WorkloadState
from nodes import api, views
from nodes import services as nodes
from nodes.machine import NodeStatus
from nodes.models import Node, NodeKey, Workload
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
PRICES = {"gpu_hourly": "0.9", "cpu_node_hourly": "0.36", "storage_gb_monthly": "0.2592"}


def text(answer: Any) -> str:
    """Return a page as a reader takes it in: no tags, single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def test_a_new_key_is_shown_once_and_only_as_long_as_it_can_be_used() -> None:
    bob = cast.person("bob")
    browser = pages_of(bob)
    page = browser.post("/fleet/", {"name": "rack 1"})
    key = NodeKey.objects.get()
    plain = page.context["plain"]
    assert plain in page.content.decode()
    assert nodes.authenticate_node_key(plain) == key
    later = browser.get("/fleet/")
    assert plain not in later.content.decode()
    assert list(later.context["keys"]) == [key]
    with time_machine.travel(clock.now(), tick=False) as traveller:
        traveller.shift(24 * 3600 + 1)
        browser = pages_of(bob)
        assert list(browser.get("/fleet/").context["keys"]) == []


def test_a_key_is_revoked_by_its_owner_alone() -> None:
    bob, carol = cast.person("bob"), cast.person("carol")
    key, _ = nodes.create_node_key(actor=bob, name="rack 1")
    address = f"/fleet/keys/{key.pk}/revoke/"
    assert pages_of(bob).get(address).status_code == 405
    assert pages_of(carol).post(address).status_code == 404
    key.refresh_from_db()
    assert key.revoked_at is None
    assert pages_of(bob).post(address).headers["Location"] == "/fleet/"
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert list(pages_of(bob).get("/fleet/").context["keys"]) == []


def test_the_fleet_says_what_is_rented_what_it_earns_and_what_is_not_met() -> None:
    cast.proxy_server()
    bob, alice = cast.person("bob"), cast.person("alice", usd=50)
    agent, offer = cast.machine(bob)
    browser = pages_of(bob)
    [row] = browser.get("/fleet/").context["machines"]
    assert (row["hidden"], row["rented"], row["tone"]) == (None, 0, "usable")
    assert (row["hourly"], row["memory_gib"], row["checks"]) == ("0.0500004", 16, "all pass")
    cast.rented(alice, offer)
    failed = SelfTestResult(
        check="runc",
        code="runc_vulnerable",
        severity="degrade",
        passed=False,
        measured="1.1",
        required="1.2.8",
        remedy="Upgrade.",
    )
    Node.objects.update(checks=[msgspec.to_builtins(failed)])
    fragment = browser.get("/fleet/fragment/")
    [row] = fragment.context["machines"]
    assert (row["hidden"]["code"], row["rented"]) == ("fully_rented", 1)
    assert row["checks"] == "not met: runc"
    for words in ("atlas-03", "no Everything on it is rented.", "not met: runc"):
        assert words in text(fragment), words
    assert "<html" not in fragment.content.decode()


@pytest.mark.parametrize(
    ("status", "tone"),
    [
        (NodeStatus.SUSPECT, "waiting"),
        (NodeStatus.OFFLINE, "failed"),
        (NodeStatus.MAINTENANCE, "neutral"),
        (NodeStatus.DRAINING, "waiting"),
    ],
)
def test_a_status_has_a_tone_beside_its_word(status: NodeStatus, tone: str) -> None:
    bob = cast.person("bob")
    agent, _ = cast.machine(bob)
    Node.objects.update(status=status.value)
    page = pages_of(bob).get(f"/fleet/{agent.node_id}/")
    assert page.context["tone"] == tone
    assert status.value in text(page)


def test_prices_are_changed_on_the_page_of_the_machine() -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    browser = pages_of(bob)
    address = f"/fleet/{agent.node_id}/"
    assert browser.get(address).context["form"].initial["cpu_node_hourly"] == "0.0500004"
    assert browser.post(address, PRICES).headers["Location"] == address
    offer.refresh_from_db()
    assert (offer.compute_rate, offer.storage_gb_rate) == (100_000, 100)
    for wrong in ({**PRICES, "cpu_node_hourly": "-1"}, {**PRICES, "cpu_node_hourly": "x"}):
        page = browser.post(address, wrong)
        assert page.context["form"].errors.keys() == {"cpu_node_hourly"}
    offer.refresh_from_db()
    assert offer.compute_rate == 100_000


def test_what_runs_on_a_machine_stands_on_its_page_without_the_renters_address() -> None:
    cast.proxy_server()
    bob, alice = cast.person("bob"), cast.person("alice", usd=50)
    agent, offer = cast.machine(bob)
    rental = cast.rented(alice, offer)
    agent.report(agent.connect(), cast.workload_of(rental), WorkloadState.PULLING)
    page = pages_of(bob).get(f"/fleet/{agent.node_id}/")
    [workload] = page.context["workloads"]
    assert (workload.wish, workload.observed_state) == ("running", "pulling")
    assert "pulling" in text(page)
    for secret in (rental.ssh_keys[0], alice.label + "@"):
        assert secret not in page.content.decode()


def test_a_machine_is_drained_and_taken_back_by_its_buttons() -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    browser, address = pages_of(bob), f"/fleet/{agent.node_id}/drain/"
    for draining, listed in (("yes", False), ("no", True)):
        answer = browser.post(address, {"draining": draining})
        assert answer.headers["Location"] == f"/fleet/{agent.node_id}/"
        offer.refresh_from_db()
        assert offer.listed is listed


@pytest.mark.parametrize("method", ["get", "post"])
def test_carol_does_not_reach_bobs_machine(method: str) -> None:
    agent, _ = cast.machine(cast.person("bob"))
    before = Node.objects.values().get()
    carol = pages_of(cast.person("carol"))
    assert getattr(carol, method)(f"/fleet/{agent.node_id}/", PRICES).status_code == 404
    assert carol.post(f"/fleet/{agent.node_id}/drain/", {"draining": "yes"}).status_code == 404
    assert carol.get("/fleet/").context["machines"] == []
    assert Node.objects.values().get() == before


@pytest.mark.parametrize("address", ["/fleet/", "/fleet/fragment/", "/earnings/"])
def test_a_pure_renter_has_no_fleet_and_no_earnings(address: str) -> None:
    answer = pages_of(cast.person("alice", role="RENT")).get(address)
    assert (answer.status_code, b"permission_missing" in answer.content) == (403, True)
    signed_out = Client().get(address)
    assert signed_out.headers["Location"] == f"/account/login/?next={address}"


def test_a_machine_tells_all_its_rentals_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    cast.proxy_server()
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    first = cast.workload_of(cast.rented(cast.person("alice", usd=50), offer))
    for hours in range(1, 4):
        Workload.objects.create(
            node_id=agent.node_id, subject_id=new_id(), wish="absent", node_generation=1, spec={},
            observed_state="absent", created_at=first.created_at - dt.timedelta(hours=hours),
        )  # fmt: skip
    rows = list(Workload.objects.order_by("-created_at"))
    monkeypatch.setattr(views, "PAGE_ROWS", 3)
    monkeypatch.setattr(api, "PAGE_ROWS", 3)
    address = f"/fleet/{agent.node_id}/"
    page, older = pages_of(bob).get(address), f"{address}?before={rows[2].pk}"
    assert page.context["workloads"] == rows[:3]
    assert f'href="?before={rows[2].pk}">Older</a>' in page.content.decode()
    last = pages_of(bob).get(older)
    assert (last.context["workloads"], last.context["next"]) == (rows[3:], None)
    assert f'hx-get="{older}"' in last.content.decode()
    door = f"/api/v1/nodes/{agent.node_id}/rentals/"
    told = api_of(bob).get(door).json()["data"]
    assert [row["rental_id"] for row in told["rows"]] == [str(row.subject_id) for row in rows[:3]]
    assert (told["rows"][0]["wish"], told["rows"][0]["state"]) == ("running", None)
    rest = api_of(bob).get(door, {"before": told["next"]}).json()["data"]
    assert [row["id"] for row in rest["rows"]] == [str(rows[3].pk)]
    assert (rest["rows"][0]["state"], rest["next"]) == ("absent", None)
    assert refusal(api_of(bob).get(door, {"before": "x"})) == (400, "cursor_invalid")
    assert refusal(api_of(cast.person("carol")).get(door)) == (404, "node_unknown")
