"""The agent's socket against a real websockets server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from hostagent.identity import Membership
from hostagent.link import Link, LinkRefused, check_url
from hostagent.protocol import Challenge, DrainNode, PlatformMessage, Reject, encode
from hostagent.protocol.messages import Message

Script = Callable[[ServerConnection], Awaitable[None]]


async def talk(script: Script) -> tuple[list[PlatformMessage], BaseException | None]:
    """Run a link against a scripted platform; return what it received and how it ended."""
    received: list[PlatformMessage] = []

    async def greet(challenge: Challenge) -> Message:
        return Reject(code="hello", message=challenge.nonce)

    async def receive(message: PlatformMessage) -> None:
        received.append(message)

    async with serve(script, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        membership = Membership("n", "k", "d", f"ws://127.0.0.1:{port}", "dcn_secret")
        try:
            async with asyncio.timeout(5):
                await Link(membership, greet, receive).run()
        except (LinkRefused, TimeoutError) as error:
            return received, error
    return received, None


async def test_the_key_is_in_the_header_and_the_challenge_is_answered() -> None:
    async def script(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.headers["Authorization"] == "Bearer dcn_secret"
        challenge = Challenge(nonce="abc", deployment="d", server_time=0)
        await connection.send(encode(challenge).decode())
        assert json.loads(await connection.recv())["message"] == "abc"
        drain = DrainNode(id="1", epoch=1, generation=1, draining=True)
        await connection.send(encode(drain).decode())
        await connection.close(4409, "newer")

    received, error = await talk(script)
    assert [type(message) for message in received] == [DrainNode]
    assert isinstance(error, LinkRefused)


async def test_nothing_is_signed_for_another_platform_and_one_set_right_again_is_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names, heard = ["http://127.0.0.1:18080", "d"], []

    async def script(connection: ServerConnection) -> None:
        challenge = Challenge(nonce="abc", deployment=names.pop(0), server_time=0)
        await connection.send(encode(challenge).decode())
        heard.extend([frame async for frame in connection] if names else [await connection.recv()])
        await connection.close(4409, "newer")

    _, error = await talk(script)
    assert isinstance(error, LinkRefused)
    assert [json.loads(frame)["message"] for frame in heard] == ["abc"]
    assert (
        "this machine has joined d, but who answers is http://127.0.0.1:18080. If your platform has "
        "moved there: run `hostagent join --server` with its new address" in caplog.text
    )


async def test_an_unknown_message_is_answered_by_reject_and_the_session_goes_on() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send('{"type": "self_destruct"}')
        answer = json.loads(await connection.recv())
        assert (answer["type"], answer["code"]) == ("reject", "type_unknown")
        drain = DrainNode(id="1", epoch=1, generation=1, draining=True)
        await connection.send(encode(drain).decode())
        await connection.close(4401, "wrong key")

    received, error = await talk(script)
    assert len(received) == 1
    assert isinstance(error, LinkRefused)


async def test_a_closed_socket_is_opened_again() -> None:
    times = 0

    async def script(connection: ServerConnection) -> None:
        nonlocal times
        times += 1
        await connection.close(1012 if times < 3 else 4409, "restart")

    _, error = await talk(script)
    assert times == 3
    assert isinstance(error, LinkRefused)


def test_an_unencrypted_address_beyond_this_machine_is_refused() -> None:
    check_url("ws://127.0.0.1:8001/ws/agent")
    check_url("wss://example.org/ws/agent")
    with pytest.raises(LinkRefused, match="not encrypted"):
        check_url("ws://example.org/ws/agent")
