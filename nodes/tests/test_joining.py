"""How a machine becomes a node, and every way in which it does not."""

from __future__ import annotations

import json

import msgspec
import pytest
import time_machine
from rest_framework.test import APIClient

from core import clock
from core.errors import Conflict, Invalid, Unauthenticated
from hostagent.protocol import SelfTestResult
from nodes import services
from nodes.models import Node, NodeKey, Offer
from tests import cast

pytestmark = pytest.mark.django_db


def test_joining_again_with_the_same_pair_gives_the_same_answer() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    agent = cast.ProtocolAgent(plain)
    first, again = agent.join(), agent.join()
    assert first.pk == again.pk
    assert Node.objects.count() == 1


def test_another_key_pair_cannot_take_over_a_node_key() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    cast.ProtocolAgent(plain).join()
    with pytest.raises(Conflict) as refused:
        cast.ProtocolAgent(plain).join()
    assert refused.value.code == "node_key_bound"
    assert Node.objects.count() == 1


def test_a_wrong_node_key_and_an_old_unused_one_register_nothing() -> None:
    bob = cast.person("bob")
    with pytest.raises(Unauthenticated) as refused:
        cast.ProtocolAgent("dcn_0000000000_nonsense").join()
    assert refused.value.code == "node_key_wrong"
    _, plain = services.create_node_key(actor=bob, name="atlas")
    tomorrow = clock.now().timestamp() + 25 * 3600
    with time_machine.travel(tomorrow, tick=False), pytest.raises(Unauthenticated) as refused:
        cast.ProtocolAgent(plain).join()
    assert refused.value.code == "node_key_expired"
    assert not Node.objects.exists()


def test_a_forged_join_signature_registers_nothing() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    request = cast.ProtocolAgent(plain).join_request()
    request.signature = cast.ProtocolAgent(plain).private.sign(b"something else").hex()
    with pytest.raises(Unauthenticated) as refused:
        services.join_node(plain_key=plain, request=request)
    assert refused.value.code == "signature_wrong"
    assert not Node.objects.exists()


def test_a_failed_check_that_must_pass_refuses_the_join_and_names_it() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    request = cast.ProtocolAgent(plain).join_request()
    request.checks = [
        SelfTestResult(check="firewall", passed=False, severity="refuse", code="firewall_unproven"),
        SelfTestResult(check="runc", passed=False, severity="degrade", code="runc_vulnerable"),
    ]
    with pytest.raises(Invalid) as refused:
        services.join_node(plain_key=plain, request=request)
    assert refused.value.code == "self_test_failed"
    assert [check["check"] for check in refused.value.data["checks"]] == ["firewall"]
    assert not Node.objects.exists()
    assert NodeKey.objects.get().public_key == ""


def test_join_over_http_speaks_the_envelope() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    agent, client = cast.ProtocolAgent(plain), APIClient()
    body = msgspec.to_builtins(agent.join_request())
    answer = client.post("/api/v1/agent/join", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (401, "node_key_missing")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
    answer = client.post("/api/v1/agent/join", {"nonsense": 1}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "join_invalid")
    answer = client.post("/api/v1/agent/join", body, format="json")
    assert answer.status_code == 200
    assert answer.json()["data"]["node_id"] == str(Node.objects.get().pk)
    assert not Offer.objects.get().listed


def test_an_http_heartbeat_with_the_bearer_key_alone_changes_nothing() -> None:
    bob = cast.person("bob")
    _, plain = services.create_node_key(actor=bob, name="atlas")
    node = cast.ProtocolAgent(plain).join()
    answer = APIClient().post(
        f"/api/v1/nodes/{node.pk}/heartbeat/",
        {"status": "online"},
        format="json",
        HTTP_AUTHORIZATION=f"Bearer {plain}",
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "challenge_required")
    node.refresh_from_db()
    assert (node.last_beat, node.status) == (None, "offline")


WRONG = [
    ("agent_version", "v" * 41),
    ("agent_version", "1\x00"),
    ("instance_id", "\ud800"),
    ("public_key", "\ud800"),
    ("signature", "é"),
    ("facts.cpu_cores", 2**31),
    ("facts.disk_free_gb", 2**31),
    ("facts.memory_mib", -1),
    ("facts.isolation", "x" * 21),
    ("facts.hostname", "a\x00b"),
    ("facts.gpus", [{"uuid": "u", "index": 32_768, "model": "m", "vram_mib": 1}]),
    ("facts.gpus", [{"uuid": "u" * 81, "index": 0, "model": "m", "vram_mib": 1}]),
    ("facts.gpus", [{"uuid": "u", "index": 0, "model": "m" * 81, "vram_mib": 1}]),
    ("facts.gpus", [{"uuid": "u", "index": 0, "model": "m", "vram_mib": 2**31}]),
    ("checks", [{"check": "a\x00", "passed": True, "severity": "info"}]),
]


@pytest.mark.parametrize(("where", "value"), WRONG)
def test_a_profile_that_cannot_be_true_is_refused_and_registers_nothing(
    where: str, value: object
) -> None:
    _, plain = services.create_node_key(actor=cast.person("bob"), name="atlas")
    body = msgspec.to_builtins(cast.ProtocolAgent(plain).join_request())
    inner = body
    *path, last = where.split(".")
    for name in path:
        inner = inner[name]
    inner[last] = value
    answer = APIClient().post(
        "/api/v1/agent/join",
        json.dumps(body),
        content_type="application/json",
        headers={"Authorization": f"Bearer {plain}"},
    )
    assert answer.status_code in {400, 401, 422}, answer.json()
    assert answer.json()["code"] in {"join_invalid", "signature_wrong"}
    assert not Node.objects.exists()
    assert NodeKey.objects.get().public_key == ""


@pytest.mark.parametrize("plain", ["dcn_a\x00b_c", "dcn_" + "_" * 500, "dcn_é_x", "_"])
def test_a_key_of_rubbish_is_no_key(plain: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        services.authenticate_node_key(plain)
    assert refused.value.code == "node_key_wrong"
