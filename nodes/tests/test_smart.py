"""Smart pricing as a host meets it: tried, switched on, applied by the clock, and never to what runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.db import connection

from accounts.actors import Actor
from audit.models import AuditEvent
from core import clock
from nodes import services, tasks
from nodes.machine import NodeStatus
from nodes.models import AgentSession, Allocation, GpuAllocation, Node, Offer, SmartPrice
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/"
WISHES = {"floor_hourly": "0.18", "ceiling_hourly": "0.72", "target_percent": 75}
PRICES = {"gpu_hourly": "0.36", "cpu_node_hourly": "0.36", "storage_gb_monthly": "0.2592"}


@pytest.fixture
def time() -> Iterator[Any]:
    with time_machine.travel(clock.now().replace(microsecond=0), tick=False) as traveller:
        yield traveller


@pytest.fixture
def bob(time: Any) -> Actor:
    cast.proxy_server()
    return cast.person("bob")


@pytest.fixture
def agent(bob: Actor) -> cast.ProtocolAgent:
    """A machine with two cards at 0.36 an hour that was heard all day."""
    agent, _ = cast.machine(bob, gpus=2)
    api_of(bob).put(address(agent, "prices/"), PRICES, "json")
    AgentSession.objects.update(opened_at=clock.now() - dt.timedelta(days=3))
    return agent


def address(agent: cast.ProtocolAgent, rest: str = "smart-price/") -> str:
    return f"{ROOT}nodes/{agent.node_id}/{rest}"


def put(bob: Actor, agent: cast.ProtocolAgent, *, on: bool = True, **more: object) -> Any:
    body = {**WISHES, "on": on, **more}
    return api_of(bob).put(address(agent), body, "json")


def heard_until_now() -> None:
    AgentSession.objects.update(last_beat=clock.now())
    Node.objects.update(last_beat=clock.now())


def rate() -> int:
    return Node.objects.get().gpu_rate


def everything() -> list[Any]:
    return [*Node.objects.values(), *SmartPrice.objects.values(), *Offer.objects.values()]


def test_it_is_off_until_somebody_switches_it_on(bob: Actor, agent: cast.ProtocolAgent) -> None:
    assert api_of(bob).get(address(agent)).json()["data"] == {"on": False}
    assert put(bob, agent, on=False).json()["data"]["on"] is False
    tasks.step_prices()
    assert (rate(), AuditEvent.objects.filter(verb="node.price_stepped").count()) == (100_000, 0)


def test_a_preview_tells_price_reason_and_inputs_and_changes_nothing(
    bob: Actor, agent: cast.ProtocolAgent
) -> None:
    before = everything()
    told = api_of(bob).post(address(agent, "smart-price/preview/"), WISHES, "json").json()["data"]
    assert everything() == before
    assert (told["on"], told["floor_hourly"], told["ceiling_hourly"]) == (False, "0.18", "0.72")
    assert told["next"] == {
        "hourly_now": "0.36",
        "hourly_next": "0.342",
        "changes": True,
        "why": "less_rented_than_wished",
        "sentence": "Less of it was rented than wished, so it should cost less.",
        "step_percent": 5.0,
        "pace_percent": 5.0,
        "occupancy_percent": 0.0,
        "rented_card_seconds": 0,
        "heard_card_seconds": 2 * 86_400,
        "cards": 2,
        "offered": True,
        "seconds_since_change": None,
    }


def test_the_clock_does_what_the_preview_said_once_a_period_with_its_inputs_in_the_log(
    bob: Actor, agent: cast.ProtocolAgent, time: Any
) -> None:
    put(bob, agent)
    for _ in range(2):  # the second time within the period changes nothing
        tasks.step_prices()
        assert (rate(), Offer.objects.get().compute_rate) == (95_000, 95_000)
    [event] = AuditEvent.objects.filter(verb="node.price_stepped")
    assert event.actor_kind == "system"
    assert event.data == {
        "why": "less_rented_than_wished",
        "rate_before": 100_000,
        "rate": 95_000,
        "floor_rate": 50_000,
        "ceiling_rate": 200_000,
        "target_bp": 7500,
        "occupancy_bp": 0,
        "rented_card_seconds": 0,
        "heard_card_seconds": 172_800,
        "cards": 2,
        "step_bp": 500,
        "pace_bp": 500,
        "direction_before": 0,
        "seconds_since_step": None,
    }
    time.shift(43_199)
    heard_until_now()
    tasks.step_prices()
    assert rate() == 95_000
    time.shift(1)
    heard_until_now()
    tasks.step_prices()
    assert rate() == 90_250
    for _ in range(40):
        time.shift(43_200)
        heard_until_now()
        tasks.step_prices()
    assert rate() == 50_000
    assert api_of(bob).get(address(agent)).json()["data"]["next"]["why"] == "at_floor"


def test_a_rental_that_runs_keeps_its_price_and_is_what_is_counted(
    bob: Actor, agent: cast.ProtocolAgent, time: Any
) -> None:
    rental = cast.rented(cast.person("alice", usd=50), Offer.objects.get(), gpus=1)
    agreed = (rental.compute_rate, rental.storage_rate, rental.price_until)
    put(bob, agent)
    time.shift(6 * 3600)
    heard_until_now()
    services.step_smart_prices()
    [event] = AuditEvent.objects.filter(verb="node.price_stepped")
    assert (event.data["rented_card_seconds"], event.data["occupancy_bp"]) == (6 * 3600, 1250)
    rental.refresh_from_db()
    assert (rental.compute_rate, rental.storage_rate, rental.price_until) == agreed
    # The whole of one day: only what lies in it counts, and both cards make it full.
    since = clock.now() - dt.timedelta(days=9)
    Allocation.objects.update(opened_at=since)
    told = api_of(bob).get(address(agent)).json()["data"]["next"]
    assert (told["rented_card_seconds"], told["occupancy_percent"]) == (86_400, 50.0)
    GpuAllocation.objects.update(released_at=clock.now() - dt.timedelta(hours=18))
    told = api_of(bob).get(address(agent)).json()["data"]["next"]
    assert (told["rented_card_seconds"], told["occupancy_percent"]) == (6 * 3600, 12.5)


def test_a_machine_without_cards_is_rented_whole_and_its_own_price_moves(bob: Actor) -> None:
    agent, offer = cast.machine(bob)
    api_of(bob).put(address(agent, "prices/"), PRICES, "json")
    AgentSession.objects.update(opened_at=clock.now() - dt.timedelta(days=3))
    cast.rented(cast.person("alice", usd=50), Offer.objects.get())
    Allocation.objects.update(opened_at=clock.now() - dt.timedelta(days=2))
    assert put(bob, agent).json()["data"]["next"]["occupancy_percent"] == 100.0
    services.step_smart_prices()
    node = Node.objects.get()
    assert (node.cpu_node_rate, node.gpu_rate) == (104_000, 100_000)
    offer.refresh_from_db()
    assert (offer.compute_rate, offer.hidden_because) == (104_000, "fully_rented")


def test_what_was_heard_for_too_little_or_is_not_offered_keeps_its_price(
    bob: Actor, agent: cast.ProtocolAgent
) -> None:
    put(bob, agent)
    AgentSession.objects.update(opened_at=clock.now() - dt.timedelta(hours=11))
    services.step_smart_prices()
    told = api_of(bob).get(address(agent)).json()["data"]["next"]
    assert (told["why"], told["occupancy_percent"]) == ("too_little_known", None)
    AgentSession.objects.update(opened_at=clock.now() - dt.timedelta(hours=12))
    services.drain_node(actor=bob, node_id=Node.objects.get().pk, draining=True)
    services.step_smart_prices()
    assert api_of(bob).get(address(agent)).json()["data"]["next"]["why"] == "not_offered"
    assert rate() == 100_000
    services.drain_node(actor=bob, node_id=Node.objects.get().pk, draining=False)
    services.step_smart_prices()
    assert rate() == 95_000


def test_switched_on_the_price_moves_within_its_bounds_at_once_and_switched_off_it_stays(
    bob: Actor, agent: cast.ProtocolAgent, time: Any
) -> None:
    put(bob, agent, on=False, floor_hourly="0.54")
    assert rate() == 100_000
    time.shift(1)
    put(bob, agent, floor_hourly="0.54")
    assert (rate(), Offer.objects.get().compute_rate) == (150_000, 150_000)
    time.shift(1)
    put(bob, agent, on=False)
    assert rate() == 150_000
    told = AuditEvent.objects.filter(verb="node.smart_price_set").order_by("at")
    assert [(each.data["on"], each.data["rate_before"], each.data["rate"]) for each in told] == [
        (False, 100_000, 100_000),
        (True, 100_000, 150_000),
        (False, 150_000, 150_000),
    ]


def test_off_and_on_again_gains_no_step(bob: Actor, agent: cast.ProtocolAgent) -> None:
    put(bob, agent)
    services.step_smart_prices()
    put(bob, agent, on=False)
    put(bob, agent)
    services.step_smart_prices()
    assert rate() == 95_000


def test_while_it_is_on_nobody_sets_that_price_by_hand_alone_or_in_many(
    bob: Actor, agent: cast.ProtocolAgent
) -> None:
    put(bob, agent)
    other, _ = cast.machine(bob, gpus=1, name="atlas-09")
    before = everything()
    dearer = {**PRICES, "gpu_hourly": "0.5"}
    answer = api_of(bob).put(address(agent, "prices/"), dearer, "json")
    assert refusal(answer) == (409, "smart_pricing_on")
    many = api_of(bob).post(f"{ROOT}nodes/prices/", {"all": True, "gpu_hourly": "0.5"}, "json")
    assert refusal(many) == (409, "prices_refused")
    [refused] = many.json()["data"]["machines"]
    assert (refused["name"], refused["code"]) == ("atlas-03", "smart_pricing_on")
    assert everything() == before
    # Every other price, and the same one, can be set.
    same = {**PRICES, "storage_gb_monthly": "0.5184"}
    assert api_of(bob).put(address(agent, "prices/"), same, "json").status_code == 200
    page = pages_of(bob).post("/fleet/prices/", {"machines": [agent.node_id], "gpu_hourly": "9"})
    assert "atlas-03" in page.content.decode()
    assert page.status_code == 409


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"floor_hourly": "0"}, "smart_price_range"),
        ({"floor_hourly": "0.73"}, "smart_price_range"),
        ({"ceiling_hourly": "1000.01"}, "smart_price_range"),
        ({"target_percent": 9}, "smart_target_range"),
        ({"target_percent": 96}, "smart_target_range"),
        ({"target_percent": 101}, "invalid"),
        ({"floor_hourly": "NaN"}, "invalid"),
        ({"floor_hourly": "-1"}, "invalid"),
        ({"on": "perhaps"}, "invalid"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(
    bob: Actor, agent: cast.ProtocolAgent, wrong: dict[str, Any], code: str
) -> None:
    before = everything()
    assert refusal(put(bob, agent, **wrong)) == (400, code)
    assert everything() == before
    if "on" not in wrong:
        tried = {**WISHES, **wrong}
        answer = api_of(bob).post(address(agent, "smart-price/preview/"), tried, "json")
        assert refusal(answer) == (400, code)


def test_carol_sees_and_steers_no_price_of_bobs(bob: Actor, agent: cast.ProtocolAgent) -> None:
    carol, before = cast.person("carol"), everything()
    for answer in (
        api_of(carol).get(address(agent)),
        put(carol, agent),
        api_of(carol).post(address(agent, "smart-price/preview/"), WISHES, "json"),
    ):
        assert refusal(answer) == (404, "node_unknown")
    assert pages_of(carol).get(f"/fleet/{agent.node_id}/smart-price/").status_code == 404
    assert everything() == before


def test_a_clock_that_dies_between_two_machines_has_changed_whole_ones_only(
    bob: Actor, agent: cast.ProtocolAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = cast.machine(bob, gpus=1, name="atlas-09")
    api_of(bob).put(address(other, "prices/"), PRICES, "json")
    AgentSession.objects.update(opened_at=clock.now() - dt.timedelta(days=3))
    put(bob, agent)
    put(bob, other)
    with connection.cursor() as cursor:
        # The database itself refuses the second machine's price, as it would in the middle of a crash.
        last = Node.objects.order_by("pk").last()
        assert last is not None
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "ALTER TABLE nodes_node ADD CONSTRAINT stop CHECK (id <> %s OR gpu_rate <> 95000)",
            [last.pk],
        )
    with pytest.raises(Exception, match="stop"):
        services.step_smart_prices()
    assert sorted(Node.objects.values_list("gpu_rate", flat=True)) == [95_000, 100_000]
    assert SmartPrice.objects.filter(stepped_at=None).count() == 1
    assert AuditEvent.objects.filter(verb="node.price_stepped").count() == 1
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE nodes_node DROP CONSTRAINT stop")
    assert services.step_smart_prices() == 1
    assert set(Node.objects.values_list("gpu_rate", flat=True)) == {95_000}


def test_the_page_shows_what_it_would_do_and_switches_it(
    bob: Actor, agent: cast.ProtocolAgent
) -> None:
    browser, page_of = pages_of(bob), f"/fleet/{agent.node_id}/smart-price/"
    first = browser.get(page_of)
    assert first.context["form"].initial == WISHES
    assert first.context["smart"] is None
    before = everything()
    tried = browser.post(page_of, {**WISHES, "do": "preview"}).content.decode()
    assert "nothing is changed" in tried
    assert "Less of it was rented than wished" in tried
    assert everything() == before
    wrong = browser.post(page_of, {**WISHES, "floor_hourly": "0.9", "do": "on"})
    assert (wrong.status_code, wrong.context["refused"].code) == (400, "smart_price_range")
    assert everything() == before
    assert browser.post(page_of, {**WISHES, "do": "on"}).headers["Location"] == page_of
    assert SmartPrice.objects.get().on
    assert "Smart pricing is on" in browser.get(f"/fleet/{agent.node_id}/").content.decode()
    services.step_smart_prices()
    after = browser.get(page_of)
    assert after.context["smart"]["next"]["why"] == "changed_lately"
    assert [step["percent"] for step in after.context["steps"]] == [0, 20, 40, 60, 80, 100]
    browser.post(page_of, {**WISHES, "do": "off"})
    assert not SmartPrice.objects.get().on


def test_a_suspect_machine_is_not_offered(bob: Actor, agent: cast.ProtocolAgent) -> None:
    put(bob, agent)
    node = Node.objects.get()
    Node.objects.filter(pk=node.pk).update(status=NodeStatus.SUSPECT.value)
    services.refresh_offer(Node.objects.get())
    services.step_smart_prices()
    assert rate() == 100_000


def test_cards_that_vanish_for_a_while_do_not_move_the_price_of_the_whole_machine(
    bob: Actor, agent: cast.ProtocolAgent
) -> None:
    api_of(bob).put(address(agent, "prices/"), {**PRICES, "cpu_node_hourly": "5"}, "json")
    assert put(bob, agent).status_code == 200
    before = (rate(), Node.objects.get().cpu_node_rate)
    # A driver that does not load once: the next hello tells of no cards.
    agent.facts = cast.facts(gpus=0)
    agent.connect()
    assert services.step_smart_prices() == 0
    node = Node.objects.get()
    assert (node.gpu_rate, node.cpu_node_rate) == before
    shown = services.preview_smart_price(actor=bob, node_id=node.pk)
    assert shown is not None
    assert shown.next.why == "not_offered"
