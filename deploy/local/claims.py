"""What one running stack keeps from the others of this machine: its own folder, and its public ports.

The claim is a lock on a file in the stack's folder; the kernel lets go of it however the stack ends.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

TRIES, PAUSE_SECONDS = 5, 0.05
# Where the suggestion for another block of public ports is looked for: below the usual one.
LOWEST_BLOCK, BLOCK = 10_000, 1_000


class Claimed(Exception):
    """Another stack has it; the message says what, and what to do."""


def claim(state: Path, ports: tuple[int, int], *, alone: bool = True) -> IO[str]:
    """Hold a stack's folder and its public ports, first and last, until the file is closed.

    Args:
        alone: refuse ports that the demo of another clone hands out (tests share them: their blocks
            are picked at random among ports that nobody listens on).

    Raises:
        Claimed: this stack runs already, or the public ports are another's.
    """
    handle = (state / "lock").open("a+")
    if not _locked(handle):
        handle.close()
        raise Claimed("this stack runs already, from another terminal; stop it there")
    # Written before looking, so that of two which start together at least one sees the other.
    handle.truncate(0)
    handle.write(f"{ports[0]}-{ports[1]}\n")
    handle.flush()
    if alone and (others := _overlapping(state, ports)):
        handle.close()
        raise Claimed(_advice(ports, others))
    return handle


def _locked(handle: IO[str]) -> bool:
    """Take the lock; somebody who only looks whether it is held has it for a moment."""
    for _ in range(TRIES):
        if _try_lock(handle, fcntl.LOCK_EX):
            return True
        time.sleep(PAUSE_SECONDS)
    return False


def _try_lock(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _overlapping(state: Path, ports: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the public ports of the running demos beside this one, when they share some with it."""
    # A stack of the tests has a name behind a dash.
    locks = [path for path in state.parent.glob("*/lock") if "-" not in path.parent.name]
    held = [_held(path) for path in locks if path.parent != state]
    taken = [block for block in held if block is not None]
    shared = any(first <= ports[1] and ports[0] <= last for first, last in taken)
    return taken if shared else []


def _held(lock: Path) -> tuple[int, int] | None:
    """Return what a running stack wrote into its lock."""
    with lock.open() as handle:
        if _try_lock(handle, fcntl.LOCK_SH):
            return None
        first, dash, last = handle.read().strip().partition("-")
    return (int(first), int(last)) if dash else None


def _advice(ports: tuple[int, int], taken: list[tuple[int, int]]) -> str:
    blocks = ((start, start + BLOCK - 1) for start in range(LOWEST_BLOCK, 65_000, BLOCK))
    free = next(
        (block for block in blocks if all(b < block[0] or block[1] < a for a, b in taken)), ports
    )
    return (
        f"another demo of this machine hands out the public ports {ports[0]}-{ports[1]} or some of them. "
        f"Stop it, or give this one others: DC_TUNNEL_PORTS={free[0]}-{free[1]}"
    )
