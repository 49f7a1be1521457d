"""What the proxy servers really show, asked through frps's own API, against what is leased."""

from __future__ import annotations

import logging

import httpx
from django.conf import settings

from nodes import services

log = logging.getLogger(__name__)


def watch() -> None:
    """Look whether the tunnel server works, and write it down."""
    error = ""
    try:
        _ask("serverinfo")
    except httpx.HTTPError as failure:
        error = repr(failure)
    services.note_tunnels(server_name="local", error=error)


def open_ports() -> set[int]:
    """Return the public ports on which frps has a live proxy; raises httpx.HTTPError."""
    return {
        int(proxy["conf"]["remotePort"])
        for proxy in _ask("proxy/tcp").json().get("proxies", [])
        if proxy.get("status") == "online" and proxy.get("conf")
    }


def _ask(what: str) -> httpx.Response:
    answer = httpx.get(
        f"{settings.DC.frps_admin_url}/api/{what}",
        auth=(settings.DC.frps_admin_user, settings.DC.frps_admin_password.get_secret_value()),
        timeout=3,
    )
    answer.raise_for_status()
    return answer


def reconcile() -> None:
    """Return released ports to the pool; while frps does not answer, nothing comes back."""
    try:
        proxied = open_ports()
    except httpx.HTTPError as error:
        log.warning("frps does not answer, ports stay in quarantine: %s", error)
        return
    services.reconcile_ports(server_name="local", proxied=proxied)
