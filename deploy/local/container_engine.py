"""Which container engine to use: the one that answers, else one of our own. Standard library only."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

USUAL_SOCKET = Path("/var/run/docker.sock")
DOCKER0 = Path("/sys/class/net/docker0")
# The first Docker that will not start a container whose IPv6 it cannot switch off.
STRICT_ABOUT_IPV6 = 26


class EngineAbsent(Exception):
    """There is no engine to use and none may be started; the message says what to do."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=3)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(docker_host: str, path: str) -> Any:
    """Return the engine's JSON answer to a GET; None when nobody answers."""
    url = urlsplit(docker_host)
    connection = (
        _UnixConnection(url.path)
        if url.scheme == "unix"
        else http.client.HTTPConnection(url.hostname or "", url.port or 2375, timeout=3)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def answers(docker_host: str) -> bool:
    """Tell whether an engine answers there."""
    return ask(docker_host, "/version") is not None


def existing_engine() -> str | None:
    """Return the address of an engine that runs already; None when there is none.

    Raises:
        EngineAbsent: one is named or half there, so that a second would disturb it.
    """
    named = os.environ.get("DOCKER_HOST")
    if named:
        if answers(named):
            return named
        raise EngineAbsent(f"DOCKER_HOST is {named}, but no engine answers there.")
    usual = f"unix://{USUAL_SOCKET}"
    if answers(usual):
        return usual
    if DOCKER0.exists():
        raise EngineAbsent(
            "There is a docker0 network, but its engine does not answer. An engine of our own would "
            "remove that network.\nStart Docker (systemctl start docker), or set DOCKER_HOST."
        )
    return None


def own_engine_command(*, socket_path: Path, data: Path, run: Path) -> list[str]:
    """Return the command of an engine of our own, without a default network.

    The pid file is removed first: after a kill its number may belong to somebody else by now, and the
    engine would refuse to start.
    """
    pid_file = run / "docker.pid"
    options = [
        f"--host=unix://{socket_path}",
        f"--data-root={data}",
        f"--exec-root={run}",
        f"--pidfile={pid_file}",
        "--bridge=none",
        "--live-restore",
    ]
    return ["sh", "-c", 'rm -f "$0"; exec dockerd "$@"', str(pid_file), *options]


def obstacle(docker_host: str) -> str:
    """Return in plain words why an engine of our own cannot start containers here; else nothing.

    Newer engines refuse a container whose IPv6 they cannot switch off, and inside a container the
    kernel's settings are read-only unless it was started otherwise.
    """
    version = str((ask(docker_host, "/version") or {}).get("Version", "0"))
    major = version.partition(".")[0]
    read_only = bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
    if not read_only or not major.isdigit() or int(major) < STRICT_ABOUT_IPV6:
        return ""
    return (
        f"This is a container with a read-only /proc/sys, and Docker {version} cannot start containers "
        "in such a one.\nStart the outer container with --security-opt systempaths=unconfined, "
        "or set DOCKER_HOST to an engine outside."
    )


def data_root(usual: Path, others: Sequence[Path]) -> Path:
    """Return where an engine of our own keeps its layers: `usual`, unless only another can be layered.

    A folder that holds an engine's data already is kept, whatever it lies on.
    """
    candidates = [usual, *others]
    used = next((path for path in candidates if path.exists()), None)
    return used or next((path for path in candidates if _can_be_layered(path)), usual)


def _can_be_layered(path: Path) -> bool:
    """Tell whether the file system below is not itself a container's overlay."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    kinds = {mount[4]: mount[mount.index("-") + 1] for mount in mounts}
    above = next(folder for folder in (path, *path.parents) if str(folder) in kinds)
    return kinds[str(above)] not in ("overlay", "tmpfs", "fuse.fuse-overlayfs")


def storage_warning(docker_host: str) -> str:
    """Return a sentence when the engine copies whole layers (vfs); else nothing."""
    facts = ask(docker_host, "/info") or {}
    if facts.get("Driver") != "vfs":
        return ""
    return (
        f"The engine's storage driver is vfs (slow, much disk), because {facts.get('DockerRootDir')} "
        "lies on a file system that cannot be layered. Put it on ext4, xfs or btrfs."
    )
