"""The browser's socket: "this thing has changed, look again". Ids only, never data."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from realtime.rooms import room_of_user

CLOSE_UNAUTHENTICATED = 4401
MAX_MESSAGE_CHARS = 1000


class NothingHere(AsyncJsonWebsocketConsumer):
    """Refuses a socket at an address that is none; the handshake ends with 403."""

    async def connect(self) -> None:
        await self.close()


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Joins the room of whoever is signed in; there is nothing to say on this socket but hello."""

    async def connect(self) -> None:
        user = self.scope.get("user")
        await self.accept()
        if user is None or not user.is_authenticated:
            await self.close(CLOSE_UNAUTHENTICATED, "auth_required")
            return
        self.room = room_of_user(str(user.pk))
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.send_json({"type": "connected"})

    async def disconnect(self, code: int) -> None:
        room = getattr(self, "room", None)
        if room:
            await self.channel_layer.group_discard(room, self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any
    ) -> None:
        if len(text_data or bytes_data or "") > MAX_MESSAGE_CHARS:
            await self.close(1009, "frame_too_large")

    async def nudge(self, event: dict[str, Any]) -> None:
        """Pass a nudge of the channel layer on to the browser."""
        await self.send_json({"type": "nudge", "room": event["room"]})
