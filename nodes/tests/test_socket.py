"""The agents' socket and the gate, spoken to as agents and frps speak to them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

from hostagent.protocol import (
    MAX_FRAME_BYTES,
    Challenge,
    Heartbeat,
    Metrics,
    Observed,
    Reject,
    Welcome,
    decode_from_platform,
    encode,
)
from nodes import gate, gateway
from nodes import services as nodes
from nodes.consumers import CLOSE_TRY_LATER, AgentConsumer
from nodes.hub import hub
from nodes.machine import NodeStatus
from nodes.models import Node, NodeKey
from tests import cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's loops belong to the gateway process."""
    monkeypatch.setattr(hub, "start", lambda: None)


def dial(header: str) -> WebsocketCommunicator:
    headers = [(b"authorization", header.encode())]
    return WebsocketCommunicator(AgentConsumer.as_asgi(), "/ws/agent", headers=headers)


async def hear(socket: WebsocketCommunicator) -> Any:
    return decode_from_platform(await socket.receive_from(timeout=5))


def joined() -> cast.ProtocolAgent:
    agent, _ = cast.machine(cast.person("bob"))
    return agent


async def open_socket(agent: cast.ProtocolAgent) -> tuple[WebsocketCommunicator, Welcome]:
    socket = dial(f"Bearer {agent.plain_key}")
    await socket.connect()
    challenge = await hear(socket)
    assert isinstance(challenge, Challenge)
    link = await sync_to_async(agent.dial)()
    link.nonce = challenge.nonce
    await socket.send_to(text_data=encode(agent.hello(link)).decode())
    welcome = await hear(socket)
    assert isinstance(welcome, Welcome), welcome
    return socket, welcome


async def closed(socket: WebsocketCommunicator) -> int:
    event = await socket.receive_output(timeout=5)
    assert event["type"] == "websocket.close"
    return int(event["code"])


async def test_a_wrong_key_is_told_so_and_closed() -> None:
    socket = dial("Bearer dcn_0000000000_wrong")
    await socket.connect()
    answer = await hear(socket)
    assert isinstance(answer, Reject)
    assert answer.code == "node_key_wrong"
    assert await closed(socket) == gateway.CLOSE_UNAUTHENTICATED


async def test_an_agent_is_welcomed_with_everything_it_should_run() -> None:
    agent = await sync_to_async(joined)()
    socket, welcome = await open_socket(agent)
    assert welcome.epoch == 2
    assert welcome.desired.workloads == []
    assert welcome.tunnel.node == agent.node_id
    beat = Heartbeat(
        node_id=agent.node_id,
        epoch=welcome.epoch,
        generation=welcome.desired.generation,
        status="online",
        metrics=Metrics(),
    )
    await socket.send_to(text_data=encode(beat).decode())
    assert await socket.receive_nothing(timeout=0.3)
    assert (agent.node_id, welcome.epoch) in hub.beats
    beat.generation += 7
    await socket.send_to(text_data=encode(beat).decode())
    whole = await hear(socket)
    assert whole.generation == welcome.desired.generation
    await socket.disconnect()


async def test_an_unknown_message_is_rejected_and_the_session_lives() -> None:
    agent = await sync_to_async(joined)()
    socket, _ = await open_socket(agent)
    await socket.send_to(text_data='{"type": "format_disk"}')
    answer = await hear(socket)
    assert (answer.code, type(answer)) == ("type_unknown", Reject)
    await socket.send_to(text_data="not json")
    assert (await hear(socket)).code == "frame_unreadable"
    await socket.disconnect()


async def test_a_message_of_a_megabyte_closes_the_socket_and_changes_nothing() -> None:
    agent = await sync_to_async(joined)()
    socket, welcome = await open_socket(agent)
    await socket.send_to(text_data=" " * 1_000_000)
    answer = await hear(socket)
    assert answer.code == "frame_too_large"
    assert len(" " * 1_000_000) > MAX_FRAME_BYTES
    assert await closed(socket) == gateway.CLOSE_TOO_LARGE
    node = await Node.objects.aget()
    assert node.epoch == welcome.epoch


async def test_a_flood_of_nonsense_ends_the_connection() -> None:
    agent = await sync_to_async(joined)()
    socket, _ = await open_socket(agent)
    for _ in range(20):
        await socket.send_to(text_data="{}")
        assert (await hear(socket)).code == "type_unknown"
    assert await closed(socket) == gateway.CLOSE_TOO_MANY


async def test_an_agent_that_sends_too_many_frames_is_told_so_closed_and_gets_no_more_by_coming_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = await sync_to_async(joined)()
    key = await NodeKey.objects.aget(node_id=agent.node_id)
    monkeypatch.setattr(gateway, "FRAMES_PER_SECOND", 1e-9)
    hub.allowance(key.pk).left = 5
    socket, welcome = await open_socket(agent)
    void = encode(Observed(epoch=welcome.epoch - 1, workloads=[])).decode()
    for _ in range(5):
        await socket.send_to(text_data=void)
    for _ in range(2):
        answer = await hear(socket)
        assert (type(answer), answer.code) == (Reject, "too_many_frames")
        assert await closed(socket) == gateway.CLOSE_TOO_MANY
        socket = dial(f"Bearer {agent.plain_key}")
        await socket.connect()
        assert isinstance(await hear(socket), Challenge)
        await socket.send_to(text_data=void)
    await hub._poll()
    assert hub.allowance(key.pk).left < 1
    hub.allowance(key.pk).left = gateway.FRAMES_AT_ONCE
    await hub._poll()
    assert key.pk not in hub._allowances


@pytest.mark.unit
def test_real_agents_have_far_more_frames_than_they_need() -> None:
    allowance = gateway.Allowance()
    # 500 workloads at once, each with its last words and an answer to a wish.
    assert all(allowance.take() for _ in range(1000))
    # A heartbeat every 5 s and a frame of news every 50 ms at most, for ever.
    assert gateway.FRAMES_PER_SECOND > 1 / 0.05 + 1 / 5
    assert allowance.left < 50
    allowance.since -= 10
    assert not allowance.is_full
    assert 300 <= allowance.left < 350
    allowance.since -= 100
    assert allowance.is_full


async def test_a_forged_hello_is_refused_and_opens_nothing() -> None:
    agent = await sync_to_async(joined)()
    socket = dial(f"Bearer {agent.plain_key}")
    await socket.connect()
    await hear(socket)
    link = await sync_to_async(agent.dial)()
    await socket.send_to(text_data=encode(agent.hello(link)).decode())
    assert (await hear(socket)).code == "signature_wrong"
    assert await closed(socket) == gateway.CLOSE_UNAUTHENTICATED
    assert (await Node.objects.aget()).epoch == 1


async def test_the_gate_answers_as_frps_needs_it() -> None:
    agent = await sync_to_async(joined)()
    node = await Node.objects.aget()
    secret = (await sync_to_async(nodes.tunnel_settings)(node)).secret
    metas = {"node": agent.node_id, "secret": secret}
    transport = httpx.ASGITransport(app=gate.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:

        async def ask(op: str, content: Any) -> Any:
            return (await client.post("/", json={"op": op, "content": content})).json()

        assert await ask("Login", {"metas": metas}) == {"reject": False, "unchange": True}
        wrong = await ask("Login", {"metas": {**metas, "secret": "x"}})
        assert wrong == {"reject": True, "reject_reason": "tunnel_secret_wrong"}
        user = {"user": {"metas": metas, "run_id": "r"}}
        proxy = {**user, "proxy_name": "anything", "proxy_type": "tcp", "remote_port": 22}
        assert (await ask("NewProxy", proxy))["reject_reason"] == "tunnel_kind_refused"
        assert await ask("CloseProxy", {}) == gate.ALLOW
        assert (await ask("NewUserConn", {}))["reject"] is True
        assert (await client.get("/healthz")).json() == {"live": True}
        for body in (b"", b"{", b"[]", b'{"op": 1}', b"x" * 100_000):
            answer = await client.post("/", content=body)
            assert answer.status_code == 400
            assert json.loads(answer.content)["reject"] is True


async def test_a_node_that_was_given_up_behind_an_open_socket_has_to_say_hello_again() -> None:
    agent = await sync_to_async(joined)()
    socket, _ = await open_socket(agent)
    await Node.objects.aupdate(status=NodeStatus.OFFLINE.value)
    await hub._poll()
    assert await closed(socket) == CLOSE_TRY_LATER
