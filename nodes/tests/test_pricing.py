"""Prices of machines: the least that a rental costs, what is not for sale, and many machines at once."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.services import actor_of
from audit.models import AuditEvent
from core.errors import Conflict, Forbidden, Invalid
from nodes import services
from nodes.models import Node, Offer
from nodes.services import Prices
from rentals.models import PriceChange, Quote
from rentals.services.terms import rates_asked
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/"
PRICES = {"gpu_hourly": "0.36", "cpu_node_hourly": "0.36", "storage_gb_monthly": "0.2592"}
RATES = ("gpu_rate", "cpu_node_rate", "minimum_rate", "storage_gb_rate")


def asked_now() -> list[tuple[Any, ...]]:
    """Return everything that machines and their offers ask."""
    offers = Offer.objects.order_by("number").values_list("compute_rate", "minimum_rate")
    return [*Node.objects.order_by("pk").values_list("name", *RATES), *offers]


def host_of(agent: cast.ProtocolAgent) -> Actor:
    """Return who owns the machine."""
    return actor_of(Node.objects.get(pk=agent.node_id).owner)


def priced(agent: cast.ProtocolAgent, **more: str) -> Any:
    """Let the machine's host publish prices."""
    path = f"{ROOT}nodes/{agent.node_id}/prices/"
    return api_of(host_of(agent)).put(path, {**PRICES, **more}, "json")


def test_a_rental_costs_at_least_the_minimum_in_search_quote_and_bill() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    agent, offer = cast.machine(cast.person("bob"), gpus=4)
    assert priced(agent, minimum_hourly="0.90").status_code == 200
    offer.refresh_from_db()
    assert (offer.compute_rate, offer.minimum_rate) == (100_000, 250_000)
    visitor = APIClient()

    def row(gpus: int) -> tuple[str, str]:
        found = visitor.get(f"{ROOT}offers/", {"gpus": gpus, "disk_gb": 10}).json()["data"]["rows"]
        return found[0]["price_hourly"], found[0]["minimum_hourly"]

    disk = "0.0036"
    assert row(1) == row(2) == (str(Decimal("0.90") + Decimal(disk)), "0.90")
    assert row(3) == (str(Decimal("1.08") + Decimal(disk)), "0.90")
    rental = cast.rented(alice, offer, gpus=2)
    assert (rental.compute_rate, Quote.objects.get().compute_rate) == (250_000, 250_000)
    assert rates_asked(rental).compute == 250_000


def test_a_machine_without_cards_asks_the_greater_of_price_and_minimum() -> None:
    agent, offer = cast.machine(cast.person("bob"))
    assert priced(agent, minimum_hourly="0.72").status_code == 200
    visitor = APIClient()
    found = visitor.get(f"{ROOT}offers/{offer.pk}/", {"disk_gb": 10}).json()["data"]
    assert (found["compute_hourly"], found["price_hourly"]) == ("0.36", "0.7236")
    assert "0.7200" in visitor.get(f"/offers/{offer.pk}/").content.decode()


def test_a_minimum_that_is_not_named_stays_and_a_raised_one_needs_the_renters_consent() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"), gpus=2)
    rental = cast.rented(cast.person("alice", usd=50), offer, gpus=1)
    before = (rental.compute_rate, rental.storage_rate)
    priced(agent, minimum_hourly="5")
    priced(agent)
    assert Node.objects.get().minimum_rate == 1_388_889
    rental.refresh_from_db()
    assert (rental.compute_rate, rental.storage_rate) == before
    assert rates_asked(rental).compute == 1_388_889
    assert not PriceChange.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("egress_gb", "0.01", "egress_price_not_zero"),
        ("egress_gb", "-1", "invalid"),
        ("minimum_hourly", "1000.5", "price_range"),
        ("minimum_hourly", "NaN", "invalid"),
        ("gpu_hourly", "99999999999999999999", "invalid"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_changes(
    field: str, value: str, code: str
) -> None:
    agent, _ = cast.machine(cast.person("bob"), gpus=1)
    before = asked_now()
    assert refusal(priced(agent, **{field: value})) == (400, code)
    many = {"all": True, field: value}
    assert refusal(api_of(host_of(agent)).post(f"{ROOT}nodes/prices/", many, "json")) == (400, code)
    assert asked_now() == before


def test_egress_is_shown_with_its_price_of_nothing() -> None:
    agent, offer = cast.machine(cast.person("bob"))
    assert priced(agent, egress_gb="0").json()["data"]["price"]["egress_gb"] == "0.00"
    found = APIClient().get(f"{ROOT}offers/{offer.pk}/").json()["data"]
    assert (found["up_gb_price"], found["down_gb_price"]) == ("0.00", "0.00")


def test_prices_of_all_machines_change_at_once_and_only_those_that_are_named() -> None:
    bob, carol = cast.person("bob"), cast.person("carol")
    cast.machine(bob, gpus=2, name="atlas-01")
    cast.machine(bob, name="atlas-02")
    cast.machine(carol, gpus=1, name="hers")
    before = Node.objects.values(*RATES).get(name="hers")
    body = {"all": True, "gpu_hourly": "0.36", "storage_gb_monthly": "0.2592"}
    answer = api_of(bob).post(f"{ROOT}nodes/prices/", body, "json").json()["data"]
    assert [each["name"] for each in answer] == ["atlas-01", "atlas-02"]
    for node in Node.objects.filter(owner_id=bob.user_id):
        assert (node.gpu_rate, node.storage_gb_rate) == (100_000, 100)
        assert (node.cpu_node_rate, node.minimum_rate) == (before["cpu_node_rate"], 0)
    offers = Offer.objects.filter(node__owner_id=bob.user_id)
    assert set(offers.values_list("compute_rate", flat=True)) == {100_000, 13_889}
    assert Node.objects.values(*RATES).get(name="hers") == before
    assert AuditEvent.objects.filter(verb="node.prices_set").count() == 2


def test_staff_who_say_all_mean_their_own_machines() -> None:
    cast.machine(cast.person("bob"), gpus=1)
    before = asked_now()
    dora = cast.person("dora", is_staff=True)
    with pytest.raises(Invalid, match="at least one machine"):
        services.set_prices_of_many(actor=dora, node_ids=None, prices=Prices(gpu_hourly=Decimal(1)))
    assert asked_now() == before


def test_staff_set_no_price_of_somebody_elses_machine_and_can_drain_it() -> None:
    """Else a member of staff rents it for nothing, locked for weeks."""
    agent, offer = cast.machine(cast.person("bob"), gpus=1)
    dora, before = cast.person("dora", is_staff=True), asked_now()
    node = uuid.UUID(agent.node_id)
    with pytest.raises(Forbidden, match="host's to say") as refused:
        services.set_prices(
            actor=dora, node_id=node, gpu_hourly=Decimal(0), cpu_node_hourly=Decimal(0), storage_gb_monthly=Decimal(0)
        )  # fmt: skip
    assert refused.value.code == "host_only"
    with pytest.raises(Forbidden, match="host's to say"):
        services.set_smart_price(
            actor=dora, node_id=node, on=True, floor_hourly=Decimal(1), ceiling_hourly=Decimal(2), target_percent=70
        )  # fmt: skip
    with pytest.raises(Conflict, match="none was changed"):
        services.set_prices_of_many(
            actor=dora, node_ids=[node], prices=Prices(gpu_hourly=Decimal(0))
        )
    assert asked_now() == before
    assert services.drain_node(actor=dora, node_id=node, draining=True).draining


def test_one_machine_in_the_way_leaves_all_as_they_are_and_is_named() -> None:
    bob, carol = cast.person("bob"), cast.person("carol")
    agent, _ = cast.machine(bob, gpus=1, name="atlas-01")
    hers, _ = cast.machine(carol, gpus=1, name="hers")
    before, nobodys = asked_now(), str(uuid.uuid4())
    body = {"node_ids": [agent.node_id, hers.node_id, nobodys], "gpu_hourly": "0.36"}
    answer = api_of(bob).post(f"{ROOT}nodes/prices/", body, "json")
    assert refusal(answer) == (409, "prices_refused")
    refused = answer.json()["data"]["machines"]
    assert {each["id"] for each in refused} == {hers.node_id, nobodys}
    assert {(each["name"], each["code"]) for each in refused} == {(None, "node_unknown")}
    assert asked_now() == before
    assert not AuditEvent.objects.filter(verb="node.prices_set").exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"gpu_hourly": "1"}, "machines_missing"),
        ({"all": True, "node_ids": [], "gpu_hourly": "1"}, "machines_missing"),
        ({"node_ids": [], "gpu_hourly": "1"}, "machines_missing"),
        ({"all": True}, "prices_missing"),
        ({"all": True, "egress_gb": "0"}, "prices_missing"),
        ({"node_ids": ["x"], "gpu_hourly": "1"}, "invalid"),
        ({"node_ids": [str(uuid.uuid4()) for _ in range(201)], "gpu_hourly": "1"}, "invalid"),
    ],
)
def test_a_change_of_many_prices_says_which_and_what(body: dict[str, Any], code: str) -> None:
    bob = cast.person("bob")
    cast.machine(bob, gpus=1)
    before = asked_now()
    assert refusal(api_of(bob).post(f"{ROOT}nodes/prices/", body, "json")) == (400, code)
    assert asked_now() == before


def test_more_machines_than_may_change_at_once_are_refused_by_their_number() -> None:
    bob = cast.person("bob")
    ids = [uuid.uuid4() for _ in range(services.MOST_AT_ONCE + 1)]
    with pytest.raises(Invalid) as refused:
        services.set_prices_of_many(actor=bob, node_ids=ids, prices=Prices(gpu_hourly=Decimal(1)))
    assert refused.value.code == "machines_too_many"


def test_a_pure_renter_changes_no_prices() -> None:
    renter = cast.person("alice", role="RENT")
    body = {"all": True, "gpu_hourly": "1"}
    answer = api_of(renter).post(f"{ROOT}nodes/prices/", body, "json")
    assert refusal(answer) == (403, "permission_missing")


def test_the_page_changes_the_ticked_machines_and_says_which() -> None:
    bob = cast.person("bob")
    one, _ = cast.machine(bob, gpus=1, name="atlas-01")
    cast.machine(bob, gpus=1, name="atlas-02")
    browser = pages_of(bob)
    assert "/fleet/prices/" in browser.get("/fleet/").content.decode()
    page = browser.post("/fleet/prices/", {"machines": [one.node_id], "gpu_hourly": "0.36"})
    assert [node.name for node in page.context["changed"]] == ["atlas-01"]
    assert "New prices hold on 1 machine: atlas-01." in page.content.decode()
    rates = dict(Node.objects.values_list("name", "gpu_rate"))
    assert (rates["atlas-01"], rates["atlas-02"]) == (100_000, 83_333)
    nothing = browser.post("/fleet/prices/", {"machines": [one.node_id]})
    assert (nothing.status_code, nothing.context["refused"].code) == (400, "prices_missing")
    unticked = browser.post("/fleet/prices/", {"gpu_hourly": "1"})
    assert unticked.context["form"].errors.keys() == {"machines"}
    assert dict(Node.objects.values_list("name", "gpu_rate")) == rates


def test_the_page_of_somebody_without_machines_says_so() -> None:
    assert "No machine yet" in pages_of(cast.person("bob")).get("/fleet/prices/").content.decode()
