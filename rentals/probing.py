"""Whether a rental answers through its public address: the platform's own look from outside."""

from __future__ import annotations

import socket
import time

BANNER = b"SSH-"


def ssh_answers(host: str, port: int, *, timeout: float) -> bool:
    """Say whether an SSH server greets at host:port within `timeout` seconds."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(64).startswith(BANNER)
    except OSError:
        return False


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
