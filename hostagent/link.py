"""The socket to the platform: prove who we are, then pass messages both ways. Reconnects with jitter."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection

from hostagent.identity import Membership
from hostagent.protocol import (
    Challenge,
    PlatformMessage,
    ProtocolError,
    Reject,
    decode_from_platform,
    encode,
)
from hostagent.protocol.messages import Message

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
# On one machine there is no herd of agents to spread out.
LONGEST_PAUSE_LOOPBACK_SECONDS = 1.0
CLOSE_UNAUTHENTICATED, CLOSE_FENCED = 4401, 4409
# The whole desired set is one frame, as long as many workloads make it.
MAX_PLATFORM_FRAME_BYTES = 64 * 1024 * 1024
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class LinkRefused(Exception):
    """The platform will not have us; trying again cannot help. The message says why."""


def check_url(url: str) -> None:
    """Raise LinkRefused for an unencrypted address that is not on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "wss" or (parts.scheme == "ws" and parts.hostname in LOOPBACK):
        return
    raise LinkRefused(f"{url} is not encrypted: only wss:// leaves this machine.")


class Link:
    """Keeps one session open for as long as it runs.

    Args:
        membership: who we are to the platform.
        greet: makes the `hello` that answers a challenge.
        receive: gets every other message.
    """

    def __init__(
        self,
        membership: Membership,
        greet: Callable[[Challenge], Awaitable[Message]],
        receive: Callable[[PlatformMessage], Awaitable[None]],
    ) -> None:
        check_url(membership.gateway_url)
        self.membership = membership
        self._greet = greet
        self._receive = receive
        self._connection: ClientConnection | None = None
        self._refusal = ""

    async def send(self, message: Message) -> bool:
        """Send a message on the open session; False when there is none now."""
        if self._connection is None:
            return False
        try:
            await self._connection.send(encode(message).decode())
        except websockets.ConnectionClosed:
            return False
        return True

    async def run(self) -> None:
        """Connect, and connect again whenever the session ends; raises LinkRefused."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                if await self._session():
                    pause = FIRST_PAUSE_SECONDS
            except (OSError, websockets.WebSocketException, TimeoutError) as error:
                log.warning("no session: %s", error)
            await asyncio.sleep(random.uniform(0.1, 1) * pause)  # noqa: S311  # jitter, not secrecy
            pause = min(pause * 2, self._longest_pause())

    def _longest_pause(self) -> float:
        local = urlsplit(self.membership.gateway_url).hostname in LOOPBACK
        return LONGEST_PAUSE_LOOPBACK_SECONDS if local else LONGEST_PAUSE_SECONDS

    async def _session(self) -> bool:
        """Hold one session until it ends; whether it got as far as a challenge."""
        headers = {"Authorization": f"Bearer {self.membership.node_key}"}
        greeted = False
        async with websockets.connect(
            self.membership.gateway_url,
            additional_headers=headers,
            max_size=MAX_PLATFORM_FRAME_BYTES,
            compression=None,
            open_timeout=10,
            ping_interval=20,
            proxy=None,
        ) as connection:
            try:
                async for frame in connection:
                    message = await self._decode(connection, frame)
                    if isinstance(message, Challenge):
                        self._check_deployment(message)
                        await connection.send(encode(await self._greet(message)).decode())
                        self._connection, greeted = connection, True
                    elif message is not None:
                        await self._pass_on(message)
            except websockets.ConnectionClosedError as error:
                log.warning("session closed: %s", error)
            finally:
                self._connection = None
            self._judge_close(connection.close_code)
        return greeted

    def _check_deployment(self, challenge: Challenge) -> None:
        """Sign nothing for another platform, but try again: it may only be set up wrongly for now."""
        ours = self.membership.deployment
        if challenge.deployment != ours:
            raise ConnectionError(
                f"this machine has joined {ours}, but who answers is {challenge.deployment}. "
                f"If your platform has moved there: run `hostagent join --server` with its new "
                "address and start the agent again."
            )

    async def _decode(
        self, connection: ClientConnection, frame: str | bytes
    ) -> PlatformMessage | None:
        try:
            return decode_from_platform(frame)
        except ProtocolError as error:
            log.warning("not understood: %s", error)
            reject = Reject(code=error.code, message=str(error)[:500])
            await connection.send(encode(reject).decode())
            return None

    async def _pass_on(self, message: PlatformMessage) -> None:
        if isinstance(message, Reject):
            self._refusal = f"{message.message} ({message.code})"
            log.warning("the platform rejects: %s", self._refusal)
        await self._receive(message)

    def _judge_close(self, code: int | None) -> None:
        if code == CLOSE_FENCED:
            raise LinkRefused(self._refusal or "A newer session of this node has taken over.")
        if code == CLOSE_UNAUTHENTICATED:
            raise LinkRefused(self._refusal or "The platform does not accept this node key.")
