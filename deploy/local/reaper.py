"""Being process 1 of a container: somebody has to bury orphans and to hear SIGTERM. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def split_off_if_first() -> None:
    """As process 1, go on in a child and never return in the parent; elsewhere do nothing.

    The parent collects every orphan, so that a killed engine is really gone and can be started again;
    a child does the work, because collecting everything would steal the exit codes it waits for.
    """
    if os.getpid() != 1:
        return
    child = os.fork()
    if child == 0:
        return

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    sys.exit(_bury_until(child))


def _bury_until(child: int) -> int:
    while True:
        gone, status = os.wait()
        if gone == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """Make orphans below this process its children (kept over exec). For `preexec_fn`."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Get a signal when the starting thread ends (kept over exec). For `preexec_fn`."""
    _prctl(PR_SET_PDEATHSIG, int(number))


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")
