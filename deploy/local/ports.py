"""The TCP ports of one stack. Standard library only."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

TUNNEL_BLOCK = 200


class PortUnreadable(Exception):
    """The environment names a port that is none; the message says which, and what one looks like."""


@dataclass(frozen=True)
class Ports:
    """Each is settable by an environment variable: `web` by DC_WEB_PORT, and so on."""

    web: int = 8000
    gateway: int = 8001
    gate: int = 7001
    frps: int = 7000
    frps_admin: int = 7500
    registry: int = 5000
    tunnels: tuple[int, int] = (20000, 32767)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ports:
        """Return the default ports, changed by what the environment says. Raises PortUnreadable."""
        named = {
            field.name: _number(environment[variable], f"{variable} is a port, a number")
            for field in fields(cls)
            if (variable := f"DC_{field.name.upper()}_PORT") in environment
        }
        block = environment.get("DC_TUNNEL_PORTS")
        tunnels = {} if block is None else {"tunnels": _block(block)}
        return cls(**named, **tunnels)  # type: ignore[arg-type]  # names and types come from the fields

    @classmethod
    def free(cls) -> Ports:
        """Return ports that nobody listens on now, for a stack beside others (tests)."""
        names = [field.name for field in fields(cls) if field.name != "tunnels"]
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        numbers = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        return cls(**dict(zip(names, numbers, strict=True)), tunnels=_free_block())

    def taken(self) -> dict[str, int]:
        """Return those on which somebody listens already."""
        single = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "tunnels"
        }
        return {name: port for name, port in single.items() if listens(port)}


def _number(text: str, rule: str, whole: str | None = None) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        written = text if whole is None else whole
        raise PortUnreadable(f"{rule} from 1 to 65535, and not {written!r}")
    return int(text)


def _block(text: str) -> tuple[int, int]:
    rule = "DC_TUNNEL_PORTS looks like 20000-32767, the first and the last port, each"
    first, _, last = text.partition("-")
    block = _number(first, rule, text), _number(last, rule, text)
    if block[0] > block[1]:
        raise PortUnreadable(f"DC_TUNNEL_PORTS begins with the lower port, and {text} does not")
    return block


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _free_block() -> tuple[int, int]:
    starts = list(range(20000, 32767 - TUNNEL_BLOCK, TUNNEL_BLOCK))
    random.shuffle(starts)
    for start in starts:
        if not any(listens(port) for port in range(start, start + TUNNEL_BLOCK)):
            return start, start + TUNNEL_BLOCK - 1
    raise OSError("no block of 200 free ports between 20000 and 32767")
