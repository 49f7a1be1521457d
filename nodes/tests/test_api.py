"""The JSON doors of machines: what everybody sees of an offer, and what only a machine's host may do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import time_machine
from rest_framework.test import APIClient

from core import clock
from core.ids import new_id
from hostagent.protocol import SelfTestResult
from nodes import services as nodes
from nodes.models import Node, NodeKey, Offer
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/"
PRICES = {"gpu_hourly": "0.90", "cpu_node_hourly": "0.36", "storage_gb_monthly": "0.2592"}


def test_an_offer_is_open_to_everyone_with_its_price_by_the_card() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    visitor = APIClient()
    [listed] = visitor.get(f"{ROOT}offers/").json()["data"]["rows"]
    assert listed == visitor.get(f"{ROOT}offers/{offer.pk}/").json()["data"]
    assert (listed["node_name"], listed["tier"]) == ("atlas-03", "CONSUMER_GPU")
    assert (listed["gpu_model"], listed["gpu_total"], listed["gpu_free"]) == ("RTX 4090", 2, 2)
    assert (listed["compute_hourly"], listed["storage_gb_monthly"]) == ("0.2999988", "0.101088")
    assert (listed["disk_quota"], listed["isolation"], listed["simulated"]) == (
        False,
        "runc",
        False,
    )
    assert not {"owner", "owner_id", "facts"} & listed.keys()


def test_a_host_sees_where_a_machine_stands_among_those_of_its_model() -> None:
    bob = cast.person("bob")
    rates = {"cheap": 1, "dear": 3, "middle": 2}
    for name, rate in rates.items():
        cast.machine(bob, gpus=1, name=name)
        Offer.objects.filter(node__name=name).update(compute_rate=rate)
    cast.machine(bob, name="bare")
    agent, _ = cast.machine(bob, gpus=1, name="away")
    api_of(bob).post(f"{ROOT}nodes/{agent.node_id}/drain/", {"draining": True}, "json")
    nodes_ = api_of(bob).get(f"{ROOT}nodes/").json()["data"]
    assert {node["name"]: node["rank"] for node in nodes_} == {
        "cheap": {"place": 1, "of": 3},
        "middle": {"place": 2, "of": 3},
        "dear": {"place": 3, "of": 3},
        "bare": {"place": 1, "of": 1},
        "away": None,
    }
    assert "2/3" in pages_of(bob).get("/fleet/").content.decode()


def test_a_hidden_offer_is_neither_listed_nor_read() -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    api_of(bob).post(f"{ROOT}nodes/{agent.node_id}/drain/", {"draining": True}, "json")
    visitor = APIClient()
    assert visitor.get(f"{ROOT}offers/").json()["data"]["rows"] == []
    assert refusal(visitor.get(f"{ROOT}offers/{offer.pk}/")) == (404, "offer_unknown")


def test_a_host_drains_a_machine_and_takes_that_back() -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    path, generation = f"{ROOT}nodes/{agent.node_id}/", Node.objects.get().generation

    def drain(draining: bool) -> Any:
        body = {"draining": draining}
        return api_of(bob).post(f"{path}drain/", body, "json").json()["data"]

    for _ in range(2):  # the second time changes nothing, and the agent is told nothing
        node = drain(True)
        assert (node["draining"], node["status"], node["listed"]) == (True, "draining", False)
        assert node["hidden_because"]["code"] == "draining"
        assert "Take new rentals again" in node["hidden_because"]["sentence"]
        assert Node.objects.get().generation == generation + 1
    node = drain(False)
    assert (node["draining"], node["status"], node["listed"]) == (False, "online", True)
    assert api_of(bob).get(path).json()["data"] == node


def test_a_new_price_shows_on_the_offer_at_once_and_a_running_rental_keeps_its_own() -> None:
    cast.proxy_server()
    bob, alice = cast.person("bob"), cast.person("alice", usd=50)
    agent, offer = cast.machine(bob)
    rental = cast.rented(alice, offer)
    before = (rental.compute_rate, rental.storage_rate)
    answer = api_of(bob).put(f"{ROOT}nodes/{agent.node_id}/prices/", PRICES, "json")
    assert answer.json()["data"]["price"] == {
        "gpu_hourly": "0.90",
        "cpu_node_hourly": "0.36",
        "minimum_hourly": "0.00",
        "storage_gb_monthly": "0.2592",
        "egress_gb": "0.00",
    }
    offer.refresh_from_db()
    assert (offer.compute_rate, offer.storage_gb_rate) == (100_000, 100)
    rental.refresh_from_db()
    assert (rental.compute_rate, rental.storage_rate) == before


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("gpu_hourly", "-1", "invalid"),
        ("gpu_hourly", "NaN", "invalid"),
        ("cpu_node_hourly", "1000.01", "price_range"),
        ("storage_gb_monthly", "99999", "price_range"),
        ("storage_gb_monthly", None, "invalid"),
    ],
)
def test_a_price_out_of_range_is_refused_and_the_old_one_stays(
    field: str, value: str | None, code: str
) -> None:
    bob = cast.person("bob")
    agent, offer = cast.machine(bob)
    before = Node.objects.values("gpu_rate", "cpu_node_rate", "storage_gb_rate").get()
    body = {**PRICES, field: value}
    answer = api_of(bob).put(f"{ROOT}nodes/{agent.node_id}/prices/", body, "json")
    assert refusal(answer) == (400, code)
    assert Node.objects.values("gpu_rate", "cpu_node_rate", "storage_gb_rate").get() == before


def test_carol_and_a_pure_renter_reach_no_machine_of_bobs() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    path = f"{ROOT}nodes/{agent.node_id}/"
    before = Node.objects.values().get()
    for who, expected in (
        (cast.person("carol"), (404, "node_unknown")),
        (cast.person("alice", role="RENT"), (403, "permission_missing")),
    ):
        client = api_of(who)
        for answer in (
            client.get(path),
            client.get(f"{path}metrics/", {"field": "cpu_util"}),
            client.put(f"{path}prices/", PRICES, "json"),
            client.post(f"{path}drain/", {"draining": True}, "json"),
        ):
            assert refusal(answer) == expected, answer.request["PATH_INFO"]
    assert api_of(cast.person("carol")).get(f"{ROOT}nodes/").json()["data"] == []
    assert Node.objects.values().get() == before


def test_staff_see_every_machine() -> None:
    cast.machine(cast.person("bob"), name="one")
    cast.machine(cast.person("bob"), name="two")
    dora = api_of(cast.person("dora", is_staff=True))
    names = [node["name"] for node in dora.get(f"{ROOT}nodes/").json()["data"]]
    assert names == ["one", "two"]


def test_a_node_key_is_shown_once_listed_without_its_secret_and_revoked_by_its_owner() -> None:
    bob, carol = api_of(cast.person("bob")), api_of(cast.person("carol"))
    made = bob.post(f"{ROOT}node-keys/", {"name": "rack 1"}, "json")
    key = made.json()["data"]
    assert (made.status_code, key["name"], key["node_id"], key["revoked"]) == (
        201,
        "rack 1",
        None,
        False,
    )
    assert key["key"].startswith(f"dcn_{key['prefix']}_")
    [listed] = bob.get(f"{ROOT}node-keys/").json()["data"]
    assert listed == {name: value for name, value in key.items() if name != "key"}
    assert carol.get(f"{ROOT}node-keys/").json()["data"] == []
    address = f"{ROOT}node-keys/{key['id']}/"
    assert refusal(carol.delete(address)) == (404, "node_key_unknown")
    assert NodeKey.objects.get().revoked_at is None
    assert bob.delete(address).status_code == 204
    assert bob.delete(address).status_code == 204
    assert bob.get(f"{ROOT}node-keys/").json()["data"][0]["revoked"] is True
    assert refusal(bob.post(f"{ROOT}node-keys/", {"name": "  "}, "json")) == (400, "invalid")


def join(agent: cast.ProtocolAgent, header: str, **more: Any) -> Any:
    request = agent.join_request()
    body = {field: getattr(request, field) for field in ("public_key", "signature", "instance_id")}
    body |= {"agent_version": "0.1.0", "facts": facts_of(agent), **more}
    return APIClient().post(f"{ROOT}agent/join", body, "json", headers={"Authorization": header})


def facts_of(agent: cast.ProtocolAgent) -> Any:
    return msgspec.to_builtins(agent.facts)


def fresh_agent() -> cast.ProtocolAgent:
    _, plain = nodes.create_node_key(actor=cast.person("bob"), name="rack")
    return cast.ProtocolAgent(plain)


def test_a_machine_joins_once_and_gets_the_same_answer_again() -> None:
    agent = fresh_agent()
    first = join(agent, f"Bearer {agent.plain_key}")
    again = join(agent, f"bearer {agent.plain_key}")
    assert first.json() == again.json()
    data = first.json()["data"]
    node = Node.objects.get()
    assert (data["node_id"], node.name) == (str(node.pk), "rack")
    assert data["gateway_url"].endswith("/ws/agent")
    other = cast.ProtocolAgent(agent.plain_key)
    assert refusal(join(other, f"Bearer {agent.plain_key}")) == (409, "node_key_bound")
    assert Node.objects.count() == 1


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc"])
def test_a_join_without_a_node_key_says_what_to_send(header: str) -> None:
    answer = join(fresh_agent(), header)
    assert refusal(answer) == (401, "node_key_missing")
    assert answer.json()["error"] == "Send `Authorization: Bearer <node key>`."


def test_a_join_that_proves_nothing_or_says_nothing_makes_no_node() -> None:
    agent = fresh_agent()
    bearer = f"Bearer {agent.plain_key}"
    assert refusal(join(agent, bearer, signature="00" * 64)) == (401, "signature_wrong")
    assert refusal(join(agent, bearer, signature="zz")) == (401, "signature_wrong")
    assert refusal(join(agent, bearer, facts={"hostname": 7})) == (400, "join_invalid")
    stranger = cast.ProtocolAgent("dcn_0000000000_wrong")
    assert refusal(join(stranger, f"Bearer {stranger.plain_key}")) == (401, "node_key_wrong")
    assert not Node.objects.exists()
    assert not Offer.objects.exists()


def test_a_key_nobody_used_for_a_day_is_worth_nothing() -> None:
    agent = fresh_agent()
    with time_machine.travel(clock.now(), tick=False) as traveller:
        traveller.shift(24 * 3600 + 1)
        answer = join(agent, f"Bearer {agent.plain_key}")
    assert refusal(answer) == (401, "node_key_expired")
    assert not Node.objects.exists()


def test_a_failed_check_refuses_the_machine_and_says_what_to_do() -> None:
    def check(severity: Any) -> Any:
        return msgspec.to_builtins(
            SelfTestResult(
                check="disk",
                code="disk_small",
                severity=severity,
                passed=False,
                measured="1 GB free",
                required="2 GB",
                remedy="Free some space.",
            )
        )

    agent = fresh_agent()
    bearer = f"Bearer {agent.plain_key}"
    refused = join(agent, bearer, checks=[check("refuse"), check("degrade")])
    assert refusal(refused) == (400, "self_test_failed")
    assert refused.json()["error"] == (
        "This machine cannot be listed yet: disk: 1 GB free, needs 2 GB. Free some space."
    )
    assert [row["code"] for row in refused.json()["data"]["checks"]] == ["disk_small"]
    assert not Node.objects.exists()
    assert join(agent, bearer, checks=[check("degrade")]).status_code == 200
    assert Node.objects.get().checks[0]["remedy"] == "Free some space."


def test_the_http_heartbeat_with_the_bearer_key_alone_is_refused() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    before = Node.objects.values().get()
    for node_id in (agent.node_id, new_id()):
        answer = APIClient(HTTP_AUTHORIZATION=f"Bearer {agent.plain_key}").post(
            f"{ROOT}nodes/{node_id}/heartbeat/", {"status": "online"}, "json"
        )
        assert refusal(answer) == (401, "challenge_required")
    assert Node.objects.values().get() == before
