"""Deaths at a chosen statement: whoever works is killed before it, and what was committed stays."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection, transaction

from tests.histories.chance import BORDERS


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Fuse:
    """Kills whoever executes statements before the nth of them; what was committed stays."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, execute: Callable[..., object], sql: str, *more: object) -> object:
        # The borders of transactions are Django's, which would lose count of them.
        if not sql.startswith(BORDERS):
            self.left -= 1
            if self.left == 0:
                raise Killed
        return execute(sql, *more)


def killed(work: Callable[[], object], fuse: int | None) -> bool:
    """Do it, unless it is killed first; return whether it was."""
    if fuse is None:
        work()
        return False
    try:
        with connection.execute_wrapper(Fuse(fuse)):
            work()
    except Killed:
        # Django takes a death between two transactions for one inside ours, which goes on.
        transaction.set_rollback(False)
        return True
    return False
