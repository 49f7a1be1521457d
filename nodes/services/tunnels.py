"""Who may open which tunnel. The gate asks here; frps itself knows nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from core.errors import Forbidden
from hostagent.protocol import TunnelSettings
from nodes.models import Node, PortLease, ProxyServer

_PROXY_NAME = re.compile(
    r"(?P<node>[0-9a-f-]{36})\.(?P<workload>[0-9a-f-]{36})-g(?P<generation>[1-9][0-9]{0,8})-(?P<port>[1-9][0-9]{0,4})"
)
# What frps hands out are 16 hex digits; a client may send back anything.
_RUN_ID = re.compile(r"[0-9A-Za-z-]{0,64}")


def node_secret(node_id: str, version: int) -> str:
    """Return a node's tunnel secret: HMAC-SHA256(master key, node, version) in hex."""
    master = settings.DC.tunnel_master_key.get_secret_value().encode()
    return hmac.new(master, f"{node_id}:{version}".encode(), hashlib.sha256).hexdigest()


def tunnel_settings(node: Node) -> TunnelSettings:
    """Return how the node's frpc reaches its proxy server."""
    server = ProxyServer.objects.order_by("pk").first()
    ca = settings.DC.tunnel_ca_file
    return TunnelSettings(
        server_host=server.server_host if server else settings.DC.tunnel_server_host,
        server_port=server.server_port if server else settings.DC.tunnel_bind_port,
        token=settings.DC.frps_token.get_secret_value(),
        node=str(node.pk),
        secret=node_secret(str(node.pk), node.tunnel_secret_version),
        secret_version=node.tunnel_secret_version,
        ca_pem=ca.read_text() if ca else "",
        server_name=settings.DC.tunnel_server_name if ca else "",
    )


@transaction.atomic
def admit_login(*, content: dict[str, Any]) -> str:
    """Check an frpc's login; return its node id. Raises Forbidden.

    A login may name a `run_id` only if the same node was given it: a client that names another's would
    evict that client's control connection.
    """
    node = _node_of(content.get("metas"))
    run_id = _run_id_of(content)
    if run_id:
        holder = Node.objects.filter(tunnel_run_id=run_id).exclude(pk=node.pk).exists()
        if holder:
            raise Forbidden("tunnel_run_id_foreign", "This run id belongs to another node.")
    return str(node.pk)


def admit_proxy(*, content: dict[str, Any]) -> None:
    """Check that a proxy is exactly one that a lease allows: name, type, port, node. Raises Forbidden."""
    user = _object(content.get("user"))
    node = _node_of(user.get("metas"))
    name = _PROXY_NAME.fullmatch(str(content.get("proxy_name", "")))
    if content.get("proxy_type") != "tcp" or content.get("group") or name is None:
        raise Forbidden("tunnel_kind_refused", "Only plain tcp proxies of leased ports are opened.")
    if name["node"] != str(node.pk):
        raise Forbidden("tunnel_foreign_node", "This proxy name belongs to another node.")
    workload_id, port = _uuid(name["workload"]), content.get("remote_port")
    leased = (
        # The same lease under a second spelling would be a second proxy to frps.
        workload_id is not None
        and str(workload_id) == name["workload"]
        and PortLease.objects.filter(
            port=port if type(port) is int else 0,
            container_port=int(name["port"]),
            workload_id=workload_id,
            workload__node=node,
            workload__generation=int(name["generation"]),
            workload__wish="running",
            released_at=None,
        ).exists()
    )
    if not leased:
        raise Forbidden("tunnel_not_leased", "This port is not leased to this workload.")
    run_id = _run_id_of(user)
    if run_id and node.tunnel_run_id != run_id:
        Node.objects.filter(pk=node.pk).update(tunnel_run_id=run_id)


def _node_of(metas: object) -> Node:
    told = _object(metas)
    node_id = _uuid(str(told.get("node", "")))
    node = Node.objects.filter(pk=node_id).first() if node_id else None
    secret = str(told.get("secret", ""))
    expected = node_secret(str(node.pk), node.tunnel_secret_version) if node else ""
    if node is None or not hmac.compare_digest(secret.encode(errors="replace"), expected.encode()):
        raise Forbidden("tunnel_secret_wrong", "This node's tunnel secret is wrong.")
    return node


def _run_id_of(told: dict[str, Any]) -> str:
    run_id = str(told.get("run_id") or "")
    if not _RUN_ID.fullmatch(run_id):
        raise Forbidden("tunnel_run_id_unreadable", "This is not a run id of frps.")
    return run_id


def _object(value: object) -> dict[str, Any]:
    """Return a part of frps's call; whatever a client may have put in its place is empty."""
    return value if isinstance(value, dict) else {}


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
