"""The snapshot of this process: read once, then kept up with what has changed, and the answers given from it.

A look at the database is at most `DC_SEARCH_SECONDS` old. It reads what was written by the oldest transaction that
was open at the look before it, or by a younger one, so that nothing which commits late is missed (`nodes.triggers`).
Ask outside of transactions: what one of them has written and takes back would stay on the board.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import BigIntegerField, Func, TextField
from django.db.models.functions import Cast

from nodes.market import Offer
from nodes.search import rows
from nodes.search.columns import ROW, Snapshot
from nodes.search.fields import FACETS
from nodes.search.finding import count_without, find, rank_of
from nodes.search.query import Query

CHUNK = 5000
MOST_ANSWERS = 1000
# Answers that are kept are forgotten when they are so many bytes: those of one page are up to 400 kB.
MOST_BYTES = 64 * 2**20
# While one thread looks, the others go on with what they have, for so long.
PATIENCE_SECONDS = 5.0
# Words of rows that have changed since are dropped by reading everything again, when they are so many.
SPARE_WORDS = 100_000

# An id as text: a million objects of the kind that may hold others would stop everybody for a second at each full
# garbage collection.
READ = [Cast(name, TextField()) if name == "id" else name for name in ROW]
# No other transaction that is seen has had this id or a later one: such stamps are those of another cluster, from
# which this one was restored.
NEXT = Func(
    template="greatest(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
    " pg_current_xact_id_if_assigned()::text::bigint + 1)",
    output_field=BigIntegerField(),
)


@dataclass
class Answers:
    """The answers that were given from one version of the snapshot, and about how many bytes they hold."""

    version: int = 0
    given: dict[Query, Answer] = field(default_factory=dict)
    held: int = 0

    @property
    def full(self) -> bool:
        return len(self.given) > MOST_ANSWERS or self.held > MOST_BYTES


@dataclass
class Answer:
    """What fits a question, how much of everything, and the rows of one page as everybody may see them.

    When nothing fits, `without` says for each filter, the cards and the disk how much would without it, most first.
    """

    next: str | None
    total: int
    _facets: bytes
    without: list[dict[str, Any]]
    _of: tuple[Snapshot, Query, list[int]]
    _kept: rows.Kept
    _among: Answers

    @property
    def facets(self) -> dict[str, list[dict[str, Any]]]:
        """How much of everything, by facet. Kept as JSON: so many objects would be looked at by garbage collections."""
        counted: dict[str, list[dict[str, Any]]] = msgspec.json.decode(self._facets)
        return counted

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the page, made anew each time: as objects they are too large to keep."""
        return rows.rows_out(*self._of)

    @cached_property
    def json(self) -> bytes:
        """The answer as the API gives it, made once."""
        body = {
            "rows": msgspec.Raw(rows.rows_json(*self._of, self._kept)),
            "next": self.next,
            "total": self.total,
            "facets": msgspec.Raw(self._facets),
            "without": self.without,
        }
        made = msgspec.json.encode(body)
        self._among.held += len(made)
        return made


@dataclass
class Board:
    """One process's snapshot, its age, and the answers given from it since it changed last."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    _looked: float = float("-inf")
    _floor: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # Of one version of the snapshot.
    _kept: rows.Kept = field(default_factory=dict)
    _answers: Answers = field(default_factory=Answers)

    def look(self) -> Snapshot:
        """Return a snapshot that is fresh enough; whoever finds it too old reads what has changed."""
        age = time.monotonic() - self._looked
        if age < settings.DC.search_seconds:
            return self.snapshot
        if self._lock.acquire(blocking=age > PATIENCE_SECONDS):
            try:
                # Somebody may have looked while this thread waited.
                if time.monotonic() - self._looked >= settings.DC.search_seconds:
                    self._read()
            finally:
                self._lock.release()
        return self.snapshot

    def answer(self, query: Query) -> Answer:
        """Return the answer to a question, which others may have asked since something changed."""
        snapshot = self.look()
        answers = self._answers
        if answers.version != snapshot.version or answers.full:
            answers = self._answers = Answers(snapshot.version)
        answer = answers.given.get(query)
        if answer is None:
            answer = answers.given[query] = _answer(snapshot, query, self._kept, answers)
        return answer

    def _read(self) -> None:
        began = time.monotonic()
        if self.snapshot.words_held > SPARE_WORDS + 4 * self.snapshot.size:
            self.snapshot, self._floor = Snapshot(), 0
        with connection.cursor() as cursor:
            # Before the rows: what is open now is read again next time.
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            (floor,) = cursor.fetchone()
        offers = Offer.objects.values_list(*READ)
        if self._floor:
            changed = list(offers.filter(changed_seq__gte=self._floor, changed_seq__lt=NEXT))
        else:
            # What is alike lies side by side: most of a large market is then read in runs.
            changed = list(offers.order_by(*FACETS).iterator(chunk_size=CHUNK))
        self.snapshot = self.snapshot.applied(changed)
        self._floor, self._looked = floor, began


_board = Board()


def look() -> Snapshot:
    """Return this process's snapshot of all offers."""
    return _board.look()


def search(query: Query) -> Answer:
    """Return what fits a question."""
    return _board.answer(query)


def rank(query: Query, number: int) -> dict[str, int] | None:
    """Return the place of the offer with this number among all that fit, and how many they are; None: it does not."""
    place, of = rank_of(look(), query, number)
    return {"place": place, "of": of} if place else None


def forget() -> None:
    """Begin again with nothing, as a new process would."""
    global _board
    _board = Board()


def _answer(snapshot: Snapshot, query: Query, kept: rows.Kept, among: Answers) -> Answer:
    found = find(snapshot, query)
    counted = {
        name: [{"value": word or None, "count": count} for word, count in words]
        for name, words in found.facets.items()
    }
    facets = msgspec.json.encode(counted)
    cursor = query.cursor(found.more) if found.more is not None else None
    nothing = [] if found.total else count_without(snapshot, query)
    without = [{"name": name, "total": total} for name, total in nothing]
    of = (snapshot, query, found.rows)
    among.held += len(facets)
    return Answer(cursor, found.total, facets, without, of, kept, among)
