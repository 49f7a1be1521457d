"""Telemetry in one SQLite file: ten-second means for an hour, one-minute means for a week, bounded in size."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from nodes.telemetry.lines import Series, parse
from nodes.telemetry.store import Point, TelemetryAway

FINE_STEP, FINE_SECONDS = 10, 3600
COARSE_STEP, COARSE_SECONDS = 60, 7 * 86_400
TABLES = {FINE_STEP: FINE_SECONDS, COARSE_STEP: COARSE_SECONDS}
PAGE_BYTES = 4096
MAX_BYTES = 256 * 1024 * 1024
PRUNE_EVERY_SECONDS = 60
SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, field TEXT NOT NULL, gpu INTEGER NOT NULL,
    UNIQUE (node, field, gpu)
);
CREATE TABLE IF NOT EXISTS mean (
    step INTEGER NOT NULL, series INTEGER NOT NULL, at INTEGER NOT NULL,
    total REAL NOT NULL, samples INTEGER NOT NULL, PRIMARY KEY (step, series, at)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mean_age ON mean (step, at);
"""
UPSERT = """
INSERT INTO mean (step, series, at, total, samples) VALUES (?, ?, ?, ?, 1)
ON CONFLICT DO UPDATE SET total = total + excluded.total, samples = samples + 1
"""


class EmbeddedStore:
    """One file that the gateway writes and the web process reads.

    Args:
        path: the file; it is made on the first write.
        max_bytes: the file never grows beyond this; the oldest quarter goes first.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_pages = max_bytes // PAGE_BYTES
        self._lock = threading.Lock()
        self._pruned = 0.0

    def write(self, lines: Sequence[str]) -> None:
        """Add lines to the means of their steps."""
        with self._lock:
            try:
                self._write(lines)
            except (sqlite3.Error, OSError) as error:
                if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                    raise TelemetryAway(str(error)) from error
                self._forget_oldest()
                raise TelemetryAway("the file was full; its oldest quarter is gone now") from error

    def _write(self, lines: Sequence[str]) -> None:
        with self._open() as database:
            ids: dict[Series, int] = {}
            for line in lines:
                for series, at, value in parse(line):
                    if series not in ids:
                        ids[series] = _series_id(database, series)
                    for step in TABLES:
                        row = (step, ids[series], at - at % step, value)
                        database.execute(UPSERT, row)
            if time.monotonic() - self._pruned > PRUNE_EVERY_SECONDS:
                self._pruned = time.monotonic()
                for step, seconds in TABLES.items():
                    old = int(time.time()) - seconds
                    database.execute("DELETE FROM mean WHERE step = ? AND at < ?", (step, old))

    def read(self, series: Series, *, start: int, end: int, step: int) -> list[Point]:
        """Return means; a step below a minute is answered with ten-second means while there are any."""
        fine = step < COARSE_STEP and start >= time.time() - FINE_SECONDS
        source = FINE_STEP if fine else COARSE_STEP
        width = max(source, step - step % source)
        query = (
            "SELECT at - at % ? AS bucket, SUM(total) / SUM(samples) FROM mean "
            "JOIN series ON series.id = mean.series "
            "WHERE step = ? AND node = ? AND field = ? AND gpu = ? AND at >= ? AND at < ? "
            "GROUP BY bucket ORDER BY bucket"
        )
        key = (width, source, series.node_id, series.field, _number(series.gpu), start, end)
        try:
            if not self._path.exists():
                return []
            with self._open() as database:
                return [Point(at, value) for at, value in database.execute(query, key)]
        except (sqlite3.Error, OSError) as error:
            raise TelemetryAway(str(error)) from error

    def _forget_oldest(self) -> None:
        try:
            with self._open() as database:
                for step in TABLES:
                    _forget_a_quarter(database, step)
        except (sqlite3.Error, OSError) as error:
            raise TelemetryAway(str(error)) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction; connections are cheap beside what a batch costs."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=5)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA max_page_count = {self._max_pages}")
            database.executescript(SCHEMA)
            with database:
                yield database


def _forget_a_quarter(database: sqlite3.Connection, step: int) -> None:
    ends = "SELECT MIN(at), MAX(at) FROM mean WHERE step = ?"
    first, last = database.execute(ends, (step,)).fetchone()
    if first is not None:
        edge = first + (last - first) // 4 + 1
        database.execute("DELETE FROM mean WHERE step = ? AND at < ?", (step, edge))


def _series_id(database: sqlite3.Connection, series: Series) -> int:
    key = (series.node_id, series.field, _number(series.gpu))
    database.execute("INSERT OR IGNORE INTO series (node, field, gpu) VALUES (?, ?, ?)", key)
    found = database.execute("SELECT id FROM series WHERE node = ? AND field = ? AND gpu = ?", key)
    return int(found.fetchone()[0])


def _number(gpu: int | None) -> int:
    return -1 if gpu is None else gpu
