"""The addresses of browser sockets."""

from __future__ import annotations

from channels.routing import URLRouter
from django.urls import path, re_path

from realtime.consumers import LiveConsumer, NothingHere

# Channels routes ASGI applications through Django's `path`, which is typed for views only.
websocket_router = URLRouter(
    [
        path("ws/live", LiveConsumer.as_asgi()),  # type: ignore[arg-type,list-item]
        re_path("", NothingHere.as_asgi()),  # type: ignore[arg-type,list-item]
    ]
)
