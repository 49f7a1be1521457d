"""What the proxy servers really show, asked through frps's own API, against what is leased."""

from __future__ import annotations

import logging

import httpx
from django.conf import settings

from nodes import services

log = logging.getLogger(__name__)


def open_ports() -> set[int]:
    """Return the public ports on which frps has a live proxy; raises httpx.HTTPError."""
    answer = httpx.get(
        f"{settings.DC.frps_admin_url}/api/proxy/tcp",
        auth=(settings.DC.frps_admin_user, settings.DC.frps_admin_password.get_secret_value()),
        timeout=3,
    )
    answer.raise_for_status()
    return {
        int(proxy["conf"]["remotePort"])
        for proxy in answer.json().get("proxies", [])
        if proxy.get("status") == "online" and proxy.get("conf")
    }


def reconcile() -> None:
    """Return released ports to the pool; while frps does not answer, nothing comes back."""
    try:
        proxied = open_ports()
    except httpx.HTTPError as error:
        log.warning("frps does not answer, ports stay in quarantine: %s", error)
        return
    services.reconcile_ports(server_name="local", proxied=proxied)
