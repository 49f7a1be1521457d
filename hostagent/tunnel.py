"""This node's one frpc: its configuration on disk, and its proxies through its own admin API.

frpc runs beside the agent, not below it: it and its sessions outlive the agent. Proxies live in frpc's
store file and outlive frpc. Its name carries the workload's generation, so a proxy of an older life can
never be taken for a newer one: `<node>.<workload>-g<generation>-<container port>`.
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hostagent.identity import write_private
from hostagent.protocol import TunnelSettings

CONFIG, ADMIN, STORE, CA = "frpc.toml", "frpc.admin.json", "frpc.store.json", "frpc.ca.pem"
HEARTBEAT_INTERVAL_SECONDS, HEARTBEAT_TIMEOUT_SECONDS = 10, 30


@dataclass(frozen=True)
class Proxy:
    """One public port that leads to one port of one container."""

    node: str
    workload_id: str
    generation: int
    container_port: int
    public_port: int
    address: str

    @property
    def name(self) -> str:
        return f"{self.node}.{self.workload_id}-g{self.generation}-{self.container_port}"


def _toml(value: Any) -> str:
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value)


def frpc_config(tunnel: TunnelSettings, folder: Path, admin: dict[str, Any]) -> str:
    """Return frpc's whole configuration file."""
    fields: dict[str, Any] = {
        "serverAddr": tunnel.server_host,
        "serverPort": tunnel.server_port,
        "loginFailExit": False,
        "auth.method": "token",
        "auth.token": tunnel.token,
        "metadatas.node": tunnel.node,
        "metadatas.secret": tunnel.secret,
        # One connection a session: cutting one renter's stream cannot stall another's.
        "transport.tcpMux": False,
        "transport.poolCount": 1,
        "transport.heartbeatInterval": HEARTBEAT_INTERVAL_SECONDS,
        "transport.heartbeatTimeout": HEARTBEAT_TIMEOUT_SECONDS,
        "transport.tls.enable": True,
        "webServer.addr": "127.0.0.1",
        "webServer.port": admin["port"],
        "webServer.user": admin["user"],
        "webServer.password": admin["password"],
        "store.path": str(folder / STORE),
        "log.to": "console",
        "log.level": "info",
        "log.disablePrintColor": True,
    }
    if tunnel.ca_pem:
        fields["transport.tls.trustedCaFile"] = str(folder / CA)
        fields["transport.tls.serverName"] = tunnel.server_name
    return "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())


def write_config(tunnel: TunnelSettings, folder: Path) -> bool:
    """Write frpc's files; True when others were there, so that a running frpc has to start again."""
    admin_file = folder / ADMIN
    if not admin_file.exists():
        admin = {"port": _free_port(), "user": "agent", "password": secrets.token_urlsafe(24)}
        write_private(admin_file, json.dumps(admin).encode())
    if tunnel.ca_pem:
        _replace(folder / CA, tunnel.ca_pem)
    text = frpc_config(tunnel, folder, json.loads(admin_file.read_text()))
    return _replace(folder / CONFIG, text) not in {None, text}


def _replace(path: Path, text: str) -> str | None:
    """Write a file unless it says so already: a full disk then costs nothing. Return what it said."""
    before = path.read_text() if path.exists() else None
    if before != text:
        write_private(path, text.encode())
    return before


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class TunnelAway(Exception):
    """frpc does not answer now; try again later."""


class Tunnels:
    """The proxies of this node's frpc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._client: httpx.AsyncClient | None = None

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                admin = json.loads((self.folder / ADMIN).read_text())
            except OSError as error:
                raise TunnelAway("not configured yet") from error
            self._client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{admin['port']}",
                auth=(admin["user"], admin["password"]),
                timeout=3,
            )
        return self._client

    async def _call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return await self._http().request(method, path, json=body)
        except httpx.HTTPError as error:
            raise TunnelAway(str(error)) from error

    async def add(self, proxy: Proxy) -> None:
        """Make the proxy wanted; harmless when it is already, corrected when it leads elsewhere."""
        tcp = {
            "localIP": proxy.address,
            "localPort": proxy.container_port,
            "remotePort": proxy.public_port,
            "metadatas": {"workload": proxy.workload_id, "generation": str(proxy.generation)},
        }
        body = {"name": proxy.name, "type": "tcp", "tcp": tcp}
        answer = await self._call("POST", "/api/store/proxies", body)
        if answer.status_code == 409:
            answer = await self._call("PUT", f"/api/store/proxies/{proxy.name}", body)
        if answer.status_code >= 300:
            raise TunnelAway(f"frpc answers {answer.status_code}: {answer.text[:200]}")

    async def remove(self, name: str) -> None:
        """Make a proxy unwanted; harmless when it is already."""
        answer = await self._call("DELETE", f"/api/store/proxies/{name}")
        if answer.status_code not in {200, 204, 404}:
            raise TunnelAway(f"frpc answers {answer.status_code}: {answer.text[:200]}")

    async def names(self, workload_id: str) -> list[str]:
        """Return the names of a workload's wanted proxies."""
        answer = await self._call("GET", "/api/store/proxies")
        if answer.status_code != 200:
            raise TunnelAway(f"frpc answers {answer.status_code}")
        return [p["name"] for p in answer.json().get("proxies") or [] if workload_id in p["name"]]

    async def status(self) -> dict[str, tuple[str, str]]:
        """Return proxy name -> (phase, error) as frpc sees it; `running` means open at the server."""
        answer = await self._call("GET", "/api/status")
        if answer.status_code != 200:
            raise TunnelAway(f"frpc answers {answer.status_code}")
        proxies = answer.json().get("tcp") or []
        return {proxy["name"]: (proxy["status"], proxy.get("err", "")) for proxy in proxies}

    async def restart(self) -> None:
        """End frpc so that its supervisor starts it with the new configuration."""
        await self._call("POST", "/api/stop")
