"""The web process: pages and API over HTTP, nudges to browsers over /ws/live."""

from __future__ import annotations

import gc
import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import resolve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
django_application = get_asgi_application()

from realtime.urls import websocket_router  # noqa: E402  # needs Django to be set up

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(websocket_router)),
    }
)

# Loads all pages now instead of with the first request. What is there now stays, so no garbage collection needs to
# look at it; and one request makes more objects than the usual 700 after which the next one begins.
resolve("/")
gc.collect()
gc.freeze()
gc.set_threshold(20_000)
