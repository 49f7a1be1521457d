"""Chance that can be had again: ids in an order that a seed decides, and a hash of everything that was done.

Ids decide in which order rows are locked and swept. Drawn from the machine's own randomness they would make every
repetition of a history another history.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable

import pytest


class Ids:
    """Stands in for `uuid.uuid4`; the same seed gives the same ids in the same order."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def begin(self, seed: object) -> None:
        """Start over; different seeds (anything with a stable `repr`) never give the same ids."""
        self._random = random.Random(repr(seed))

    def __call__(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(uuid, "uuid4", self)


BORDERS = ("SAVEPOINT", "RELEASE", "ROLLBACK")


class Trace:
    """A hash of all statements and of all that was noted, in order: two equal hashes, twice the same history."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def __call__(self, execute: Callable[..., object], sql: str, *more: object) -> object:
        """Note a statement; goes into Django's `execute_wrapper`."""
        # The names of savepoints are counted on from one history to the next.
        self.note(sql.split()[0] if sql.startswith(BORDERS) else sql)
        return execute(sql, *more)

    def note(self, what: object) -> None:
        """Note anything with a stable `repr`."""
        self._hash.update(f"{what!r}\n".encode())

    @property
    def told(self) -> str:
        return self._hash.hexdigest()[:16]
