"""Tables as CSV: exact amounts, and no cell that a spreadsheet would run as a formula. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal

from core.money import NANO

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV with a header line; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_cell(each) for each in header])
    writer.writerows([_cell(each) for each in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> str:
    """Return a value as text that stays text: what would begin a formula gets an apostrophe."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_RUNS) and not _NUMBER.fullmatch(text) else text


def cents(amounts: Sequence[int]) -> list[str]:
    """Return nano-units rounded to cents so that the figures add up to the rounded sum of the amounts.

    Each figure is the difference of two rounded running sums, so none is more than a cent off.
    """
    shown, running, before = [], 0, Decimal(0)
    for amount in amounts:
        running += amount
        after = (Decimal(running) / NANO).quantize(Decimal("0.01"), ROUND_HALF_UP)
        shown.append(f"{after - before:.2f}")
        before = after
    return shown
