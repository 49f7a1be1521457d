"""The browser's socket: only its own person's nudges, ids only, through the real Redis."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from accounts.actors import Actor
from accounts.models import User
from billing import services as billing
from core import outbox
from core.ids import new_id
from marketplace.asgi import application
from nodes.events import NodeChanged
from nodes.models import Node
from realtime.consumers import CLOSE_UNAUTHENTICATED
from realtime.handlers import nudge_node
from rentals import services as rentals
from tests import cast

pytestmark = pytest.mark.django_db(transaction=True)


def cookie_of(actor: Actor) -> str:
    """Return the cookie of a session in which this person is signed in."""
    user = User.objects.get(pk=actor.user_id)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"sessionid={session.session_key}"


async def dial(
    cookie: str = "", origin: str = "http://localhost", path: str = "/ws/live"
) -> WebsocketCommunicator:
    headers = [(b"origin", origin.encode()), (b"cookie", cookie.encode())]
    return WebsocketCommunicator(application, path, headers=headers)


async def live(actor: Actor) -> WebsocketCommunicator:
    socket = await dial(await sync_to_async(cookie_of)(actor))
    assert (await socket.connect(timeout=5))[0] is True
    assert await socket.receive_json_from(timeout=5) == {"type": "connected"}
    return socket


async def rooms(socket: WebsocketCommunicator, count: int) -> set[str]:
    """Return the rooms of so many nudges; each carries its room and nothing else."""
    heard = [await socket.receive_json_from(timeout=5) for _ in range(count)]
    assert {tuple(sorted(nudge)) for nudge in heard} == {("room", "type")}
    return {nudge["room"] for nudge in heard}


async def closing(socket: WebsocketCommunicator) -> int:
    event: dict[str, Any] = await socket.receive_output(timeout=5)
    assert event["type"] == "websocket.close"
    return int(event["code"])


def people(*names: str) -> list[Actor]:
    return [cast.person(name, usd=50) for name in names]


async def test_an_address_that_is_none_is_refused() -> None:
    for path in ("/ws/other", "/", "/ws/live/"):
        socket = await dial(path=path)
        assert (await socket.connect(timeout=5))[0] is False


async def test_a_visitor_is_told_to_sign_in_and_hears_nothing() -> None:
    for cookie in ("", "sessionid=forged"):
        socket = await dial(cookie)
        await socket.connect(timeout=5)
        assert await closing(socket) == CLOSE_UNAUTHENTICATED


async def test_another_sites_page_does_not_get_in_with_the_persons_cookie() -> None:
    [alice] = await sync_to_async(people)("alice")
    cookie = await sync_to_async(cookie_of)(alice)
    socket = await dial(cookie, origin="https://evil.example")
    assert (await socket.connect(timeout=5))[0] is False


def settled(*names: str) -> list[Actor]:
    """Make people whose own news are all handled."""
    made = people(*names)
    outbox.drain()
    return made


async def test_money_that_comes_in_nudges_its_owner_and_nobody_else() -> None:
    alice, carol = await sync_to_async(settled)("alice", "carol")
    hers, other = await live(alice), await live(carol)
    await sync_to_async(billing.deposit)(
        actor=Actor.system(), owner_id=alice.user_id, amount=1, idem="nudge"
    )
    await sync_to_async(outbox.drain)()
    assert await rooms(hers, 1) == {"wallet"}
    assert await other.receive_nothing(timeout=0.3)
    for socket in (hers, other):
        await socket.disconnect()


def rented() -> tuple[Actor, Actor, uuid.UUID]:
    cast.proxy_server()
    alice, bob = people("alice", "bob")
    _, offer = cast.machine(bob)
    rental = cast.rented(alice, offer)
    outbox.drain()
    return alice, bob, rental.pk


async def test_renter_and_host_hear_of_a_rental_and_the_host_of_the_machine() -> None:
    alice, bob, rental_id = await sync_to_async(rented)()
    hers, his = await live(alice), await live(bob)
    await sync_to_async(rentals.end_rental)(actor=alice, rental_id=rental_id)
    await sync_to_async(outbox.drain)()
    expected = f"rental:{rental_id}"
    await until(hers, expected)
    await until(his, expected)
    node = await Node.objects.aget()
    await sync_to_async(nudge_node)(NodeChanged(node_id=str(node.pk)))
    await until(his, "fleet")
    await sync_to_async(nudge_node)(NodeChanged(node_id=str(new_id())))
    for socket in (hers, his):
        await socket.disconnect()


async def until(socket: WebsocketCommunicator, room: str) -> None:
    """Hear this room named; what else is named on the way does not matter."""
    while room not in await rooms(socket, 1):
        pass


async def test_what_a_browser_says_is_ignored_and_too_much_of_it_ends_the_socket() -> None:
    [alice] = await sync_to_async(people)("alice")
    socket = await live(alice)
    await socket.send_to(text_data='{"type": "nudge", "room": "wallet"}')
    await socket.send_to(text_data="not json")
    await socket.send_to(bytes_data=b"\x00")
    assert await socket.receive_nothing(timeout=0.3)
    await socket.send_to(text_data="x" * 1001)
    assert await closing(socket) == 1009
