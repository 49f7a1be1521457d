"""Whether a rental answers through its public address: the platform's own look from outside."""

from __future__ import annotations

import socket
import time
from enum import StrEnum

BANNER = b"SSH-"


class Sign(StrEnum):
    """What a look found. `SILENT`: the address is open to the container, and no SSH server is there."""

    ANSWERS = "answers"
    SILENT = "silent"
    CLOSED = "closed"


def look(host: str, port: int, *, timeout: float) -> Sign:
    """Say within `timeout` seconds what is at host:port."""
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except (OSError, ValueError, OverflowError):  # also what is no address at all
        return Sign.CLOSED
    with connection:
        try:
            connection.settimeout(timeout)
            return Sign.ANSWERS if connection.recv(64).startswith(BANNER) else Sign.SILENT
        except OSError:
            return Sign.SILENT


def ssh_answers(host: str, port: int, *, timeout: float) -> bool:
    """Say whether an SSH server greets at host:port within `timeout` seconds."""
    return look(host, port, timeout=timeout) is Sign.ANSWERS


def wait_for_ssh(host: str, port: int, *, patience: float, pause: float = 0.05) -> bool:
    """Ask again until SSH answers or `patience` seconds have passed."""
    deadline = time.monotonic() + patience
    while True:
        left = deadline - time.monotonic()
        if ssh_answers(host, port, timeout=max(0.2, min(2.0, left))):
            return True
        if time.monotonic() + pause >= deadline:
            return False
        time.sleep(pause)
