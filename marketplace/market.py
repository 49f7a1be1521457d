"""What the market page shows of each model, made once for everybody: in this process, for ten minutes.

Prices are noted every ten minutes; to make a page of 25 models anew for each stranger costs up to a second.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.template.loader import render_to_string

from core import clock
from marketplace.history import FRESH, PERIODS, model_face
from nodes import queries

GOOD_SECONDS = 600
# Rows that are kept are forgotten when they are so many bytes: one model takes about 20 kB a period.
MOST_BYTES = 32 * 2**20
# About what a row takes besides its text.
ROW_BYTES = 500


class Row(NamedTuple):
    """One model in one period as HTML: its row of the table, and the figures behind its line."""

    row: str
    figures: str


@dataclass
class Shelf:
    """What was made and when (epoch seconds), by period in days; nothing is older than `GOOD_SECONDS`."""

    _names: dict[int, tuple[int, list[str]]] = field(default_factory=dict)
    _rows: dict[tuple[int, str], tuple[int, Row]] = field(default_factory=dict)
    _held: int = 0
    # Whoever asks while something is made waits for it rather than make it as well.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def names(self, days: int) -> list[str]:
        """Return the models of which a price is known in the period, by name."""
        with self._lock:
            made, names = self._names.get(days, (0, []))
            if not _good(made):
                names = queries.priced_models(since=_since(days))
                self._names[days] = clock.epoch(), names
            return names

    def rows(self, days: int, models: Sequence[str]) -> list[Row]:
        """Return these models as the page shows them."""
        with self._lock:
            found = {name: self._rows.get((days, name)) for name in models}
            rows = {name: row for name, (made, row) in _known(found) if _good(made)}
            wanted = [name for name in models if name not in rows]
            if wanted:
                fresh = _made(days, wanted)
                self._keep(days, fresh)
                rows.update(fresh)
            return [rows[name] for name in models]

    def _keep(self, days: int, fresh: dict[str, Row]) -> None:
        now = clock.epoch()
        for name, row in fresh.items():
            _, old = self._rows.get((days, name), (0, None))
            self._held += _size(name, row) - (_size(name, old) if old else 0)
            self._rows[days, name] = now, row
        if self._held > MOST_BYTES:
            self._rows, self._held = {}, 0


_shelf = Shelf()


def models_shown(days: int, named: str = "") -> list[str]:
    """Return the models whose name holds `named` and of which a price is known in the period, by name."""
    part = named.casefold()
    return [name for name in _shelf.names(days) if part in name.casefold()]


def rows_shown(days: int, models: Sequence[str]) -> list[Row]:
    """Return these models as the page shows them, in this order."""
    return _shelf.rows(days, models)


def forget() -> None:
    """Begin again with nothing, as a new process would."""
    global _shelf
    _shelf = Shelf()


def faces(days: int, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what the page shows of each of these models."""
    series = queries.price_history(models, since=_since(days), step_seconds=PERIODS[days])
    newest = queries.newest_prices(models, since=clock.now() - FRESH)
    return {name: model_face(name, series[name], newest.get(name), days) for name in models}


def _made(days: int, models: Sequence[str]) -> dict[str, Row]:
    # Most models have the same steps.
    told: dict[dt.datetime, str] = {}
    made = {}
    for name, face in faces(days, models).items():
        for step in face["steps"]:
            at = step["at"]
            if at not in told:
                told[at] = render_to_string("components/instant.html", {"at": at})
            step["when"] = told[at]
        context = {"model": face}
        made[name] = Row(
            render_to_string("marketplace/_model.html", context),
            render_to_string("marketplace/_figures.html", context),
        )
    return made


def _known(found: dict[str, tuple[int, Row] | None]) -> list[tuple[str, tuple[int, Row]]]:
    return [(name, kept) for name, kept in found.items() if kept is not None]


def _good(made: int) -> bool:
    """Whether it is neither too old nor, after somebody set the clock back, from the future."""
    return 0 <= clock.epoch() - made < GOOD_SECONDS


def _since(days: int) -> dt.datetime:
    return clock.now() - dt.timedelta(days=days)


def _size(name: str, row: Row) -> int:
    return ROW_BYTES + 2 * (len(name) + len(row.row) + len(row.figures))
