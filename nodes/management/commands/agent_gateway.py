"""Serve the agents' socket in a process of its own: one event loop, no pages."""

from __future__ import annotations

import gc
from typing import Any

import uvicorn
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.management.base import BaseCommand
from django.urls import path

from hostagent.protocol import MAX_FRAME_BYTES
from nodes.consumers import AgentConsumer


class Command(BaseCommand):
    help = "Serve WSS /ws/agent, where host agents live."

    def handle(self, *args: Any, **options: Any) -> None:
        # Channels routes ASGI applications through Django's `path`, which is typed for views only.
        router = URLRouter([path("ws/agent", AgentConsumer.as_asgi())])  # type: ignore[arg-type,list-item]
        application = ProtocolTypeRouter({"websocket": router})
        # Long-lived connections make garbage collections slow and useless: fewer of them.
        gc.set_threshold(100_000, 50, 1000)
        gc.freeze()
        uvicorn.run(
            application,
            host=settings.DC.gateway_host,
            port=settings.DC.gateway_port,
            ws="websockets-sansio",
            ws_max_size=4 * MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            access_log=False,
        )
