"""What one agent can do to the gateway that all of them share: nothing."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from hostagent.protocol import Metrics, Reject
from nodes import consumers, gateway, hub
from nodes.hub import Hub
from nodes.models import AgentSession, Node
from nodes.tests.test_socket import closed, dial, hear, joined, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.hub, "start", lambda: None)


class Deaf:
    """A connection whose agent does not read: nothing said to it ever ends."""

    position = (1, -1)

    def __init__(self) -> None:
        self.asked = 0

    async def news(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()

    fence = start_over = news


class Attentive(Deaf):
    async def news(self) -> None:
        self.asked += 1

    fence = start_over = news


class Broken(Deaf):
    async def news(self) -> None:
        self.asked += 1
        raise RuntimeError("Unexpected ASGI message 'websocket.close'")

    fence = start_over = news


async def two_nodes() -> tuple[str, str]:
    first, second = await sync_to_async(joined)(), await sync_to_async(joined)()
    return first.node_id, second.node_id


async def test_an_agent_that_does_not_read_delays_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "NUDGE_SECONDS", 0.2)
    registry, deaf, attentive = Hub(), Deaf(), Attentive()
    one, other = await two_nodes()
    registry.add(one, deaf)
    registry.add(other, attentive)
    for _ in range(5):
        await asyncio.wait_for(registry._poll(), 5)
    await asyncio.sleep(0)
    assert attentive.asked >= 1
    assert deaf.asked == 2
    await asyncio.wait(registry._nudging)
    await registry._poll()
    await asyncio.sleep(0)
    assert deaf.asked == 3
    for task in registry._nudging:
        task.cancel()


async def test_a_connection_that_breaks_ends_neither_the_poll_nor_the_loops() -> None:
    registry, broken = Hub(), Broken()
    node_id, _ = await two_nodes()
    registry.add(node_id, broken)
    for asked in (1, 2):
        await registry._poll()
        await asyncio.wait(registry._nudging)
        assert broken.asked == asked
    calls, thrice = 0, asyncio.Event()

    async def step() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            thrice.set()
        raise OverflowError("int too large to convert to float")

    loop = asyncio.get_running_loop().create_task(registry._forever(step, 0.01))
    await asyncio.wait_for(thrice.wait(), 5)
    assert not loop.done()
    loop.cancel()


async def test_who_says_no_hello_is_closed_when_the_nonce_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.DC, "nonce_seconds", 0.2)
    agent = await sync_to_async(joined)()
    socket = dial(f"Bearer {agent.plain_key}")
    await socket.connect()
    await hear(socket)
    answer = await hear(socket)
    assert isinstance(answer, Reject)
    assert answer.code == "challenge_expired"
    # It may come back: being slow says nothing about who it is.
    assert await closed(socket) == consumers.CLOSE_TRY_LATER
    assert await AgentSession.objects.filter(closed_at=None).acount() == 1


async def test_after_the_close_nothing_more_is_sent() -> None:
    agent = await sync_to_async(joined)()
    socket, welcome = await open_socket(agent)
    connection = hub.hub.connections[agent.node_id]
    await Node.objects.aupdate(epoch=welcome.epoch + 1)
    await connection.fence()
    await connection.fence()
    await connection.start_over()
    await connection.news()
    assert await closed(socket) == gateway.CLOSE_FENCED
    assert await socket.receive_nothing(timeout=0.1)
    hub.hub.beat(agent.node_id, welcome.epoch, Metrics())
    await socket.disconnect()
