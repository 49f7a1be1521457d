"""The gate: frps asks it before it lets a client log in or open a port. A plain ASGI application.

Answers come from `nodes.services.admit_*`; a positive answer to NewProxy is remembered for CACHE_SECONDS
so that a storm of reconnects does not become a storm of queries. frps treats anything but a correct
"yes" as "no", so a dead gate opens nothing, and live tunnels do not notice it (`Ping` is not hooked).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async
from django.db import DatabaseError

from core.errors import DomainError
from nodes import services

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
CACHE_SECONDS = 2.0
CACHE_ENTRIES = 10_000
# `{}` would not mean "allowed": frps would take it as an empty proxy and open a random port.
ALLOW: dict[str, Any] = {"reject": False, "unchange": True}

_recent: dict[str, float] = {}


def refuse(reason: str) -> dict[str, Any]:
    """Return the answer that makes frps say no; the reason shows up in the node's tunnel status."""
    return {"reject": True, "reject_reason": reason}


async def decide(operation: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return frps's answer for one operation."""
    checks: dict[str, Callable[..., Any]] = {
        "Login": services.admit_login,
        "NewProxy": services.admit_proxy,
    }
    if operation == "CloseProxy":
        return ALLOW
    if operation not in checks:
        return refuse("operation_unknown")
    cache_key = json.dumps([operation, content], sort_keys=True)
    if operation == "NewProxy" and time.monotonic() - _recent.get(cache_key, -1e9) < CACHE_SECONDS:
        return ALLOW
    try:
        await database_sync_to_async(checks[operation])(content=content)
    except DomainError as error:
        log.warning("refused %s: %s", operation, error.code)
        return refuse(error.code)
    except DatabaseError as error:
        log.warning("cannot decide %s: %s", operation, error)
        return refuse("gate_unready")
    if len(_recent) >= CACHE_ENTRIES:
        _recent.clear()
    _recent[cache_key] = time.monotonic()
    return ALLOW


async def _body(receive: Any) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        chunk = event.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES or event["type"] == "http.disconnect":
            return None
        chunks.append(chunk)
        if not event.get("more_body"):
            return b"".join(chunks)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer frps's HTTP plugin calls."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    body = await _body(receive)
    status, answer = 400, refuse("call_unreadable")
    if body:
        try:
            call = json.loads(body)
            operation, content = str(call["op"]), dict(call["content"])
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning("unreadable call of %d bytes", len(body))
        else:
            status, answer = 200, await decide(operation, content)
    elif scope.get("path") == "/healthz":
        status, answer = 200, {"live": True}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json")],
        }
    )
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


__all__ = ["ALLOW", "application", "decide", "refuse"]
