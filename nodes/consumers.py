"""The agent's socket: authenticate, decode, `nodes.gateway`, encode.

Its own receive loop instead of Channels' dispatch, which would hop threads for each message; a
heartbeat touches no database and no thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError

from core.errors import DomainError, Unauthenticated
from hostagent.protocol import (
    MAX_FRAME_BYTES,
    AgentMessage,
    Heartbeat,
    PlatformMessage,
    ProtocolError,
    Reject,
    decode_from_agent,
    encode,
)
from nodes import gateway, services
from nodes.hub import hub

log = logging.getLogger(__name__)

CLOSE_TRY_LATER = 1013
MAX_REJECTED = 20


class AgentConsumer(AsyncConsumer):
    """One connection of an agent."""

    link: gateway.AgentLink

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        hub.start()
        self._send = send
        self._lock = asyncio.Lock()
        self._rejected = 0
        self._closed = False
        await receive()
        await send({"type": "websocket.accept"})
        headers = dict(scope["headers"])
        try:
            self.link = await database_sync_to_async(gateway.authenticate)(
                headers.get(b"authorization", b"").decode("latin-1"), hub.name
            )
        except DomainError as error:
            await self._refuse(error)
            return
        except DatabaseError as error:
            log.warning("agent socket: %s", error)
            await self._close(CLOSE_TRY_LATER, "the platform cannot read now; come back")
            return
        self._allowance = hub.allowance(self.link.key.pk)
        try:
            await self._say([self.link.challenge()])
            await self._receive_all(receive)
        finally:
            if self.link.epoch:
                hub.remove(self.link.node_id, self)
                await database_sync_to_async(services.close_session)(
                    node_id=self.link.node_id, epoch=self.link.epoch
                )

    async def _receive_all(self, receive: Any) -> None:
        while True:
            # An outer loop of the process: each way out closes the socket with its reason.
            try:
                event = await self._next(receive)
                if event["type"] == "websocket.disconnect":
                    return
                frame = event.get("text") or event.get("bytes") or b""
                if not await self._receive_one(frame):
                    return
            except gateway.Fenced:
                await self.fence()
                return
            except DomainError as error:
                await self._refuse(error)
                return
            except DatabaseError as error:
                log.warning("agent socket: %s", error)
                await self._close(CLOSE_TRY_LATER, "the platform cannot write now; come back")
                return

    async def _next(self, receive: Any) -> Any:
        """Wait for an event; an agent that never says hello is not waited for longer than its nonce lives."""
        if self.link.epoch:
            return await receive()
        left = settings.DC.nonce_seconds - (time.monotonic() - self.link.opened)
        try:
            async with asyncio.timeout(max(0, left)):
                return await receive()
        except TimeoutError as error:
            raise Unauthenticated(
                "challenge_expired", "No hello answered the challenge."
            ) from error

    async def _receive_one(self, frame: bytes | str) -> bool:
        if len(frame) > MAX_FRAME_BYTES:
            await self._say([Reject(code="frame_too_large", message="A frame is too large.")])
            await self._close(gateway.CLOSE_TOO_LARGE, "frame_too_large")
            return False
        if not self._allowance.take():
            said = (
                f"An agent sends at most {gateway.FRAMES_PER_SECOND:g} frames a second; come back."
            )
            await self._say([Reject(code="too_many_frames", message=said)])
            await self._close(gateway.CLOSE_TOO_MANY, "too_many_frames")
            return False
        try:
            message = decode_from_agent(frame)
        except ProtocolError as error:
            return await self._reject(error)
        if isinstance(message, Heartbeat) and self.link.epoch:
            await self._heartbeat(message)
        else:
            await self._handle(message)
        return True

    async def _heartbeat(self, beat: Heartbeat) -> None:
        if not gateway.is_current(self.link, beat):
            return
        hub.beat(self.link.node_id, self.link.epoch, beat.metrics)
        if gateway.is_behind(self.link, beat):
            async with self._lock:
                await self._say(await database_sync_to_async(gateway.tell_all)(self.link))

    async def _handle(self, message: AgentMessage) -> None:
        was_open = bool(self.link.epoch)
        async with self._lock:
            answers = await database_sync_to_async(gateway.handle)(self.link, message)
            if self.link.epoch and not was_open:
                hub.add(self.link.node_id, self)
            await self._say(answers)

    async def _reject(self, error: ProtocolError) -> bool:
        await self._say([Reject(code=error.code, message=str(error))])
        self._rejected += 1
        if self._rejected < MAX_REJECTED:
            return True
        await self._close(gateway.CLOSE_TOO_MANY, "too many frames that are no messages")
        return False

    async def news(self) -> None:
        """Tell the agent what changed; called by the hub."""
        async with self._lock:
            try:
                await self._say(await database_sync_to_async(gateway.tell_news)(self.link))
            except gateway.Fenced:
                await self.fence()

    async def fence(self) -> None:
        """Close because a newer session of this node has taken over."""
        await self._close(gateway.CLOSE_FENCED, "a newer session of this node has taken over")

    async def start_over(self) -> None:
        """Close because the node was given up while this socket stayed open; it may come back at once."""
        await self._close(CLOSE_TRY_LATER, "the platform lost sight of you; say hello again")

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, generation last told), for the hub."""
        return self.link.epoch, self.link.told_generation

    async def _refuse(self, error: DomainError) -> None:
        await self._say([gateway.refusal(error)])
        code = gateway.CLOSE_FENCED if error.status == 409 else gateway.CLOSE_UNAUTHENTICATED
        if error.code == "challenge_expired":
            code = CLOSE_TRY_LATER  # it was slow; that says nothing about who it is
        await self._close(code, error.code)

    async def _say(self, messages: list[PlatformMessage]) -> None:
        for message in messages:
            if self._closed:
                return
            await self._send({"type": "websocket.send", "text": encode(message).decode()})

    async def _close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})
