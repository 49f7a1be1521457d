"""A notice in words: the catalogue's sentences with their fields, for one person's clock."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.urls import reverse

from accounts.models import Notice
from accounts.notices import CATALOGUE, MONEY
from core import clock, currency


@dataclass(frozen=True)
class Worded:
    """What is said; `path` leads to the page that it is about."""

    title: str
    body: str
    path: str
    tone: str


def word(notice: Notice, *, zone: str = "") -> Worded:
    """Return a notice in words, its instants in an IANA zone (UTC without one)."""
    entry = CATALOGUE.get(notice.code)
    if entry is None:
        # Written by another version: it happened, and nobody knows the words any more.
        return Worded(notice.code, "", reverse("notices"), "information")
    say = _Sentence(zone_of(zone), notice.params.get("currency"))
    args = [notice.subject_id] if entry.subject else []
    return Worded(
        title=say.vformat(entry.title, (), notice.params),
        body=say.vformat(entry.body, (), notice.params),
        path=reverse(entry.page, args=args),
        tone=entry.tone,
    )


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name, UTC for none and for one that is not known any more."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


class _Sentence(Formatter):
    """Fills the fields of a sentence; what a field holds is never read as a format itself."""

    def __init__(self, zone: ZoneInfo, code: str | None) -> None:
        self._zone = zone
        self._code = code

    def get_value(self, key: int | str, args: Any, kwargs: Any) -> Any:
        return kwargs.get(key)

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "–"
        if format_spec == MONEY:
            # `notify` has refused amounts without a currency.
            assert self._code is not None
            return currency.priced(int(value), self._code)
        if format_spec == "when":
            return self._when(int(value))
        if format_spec == "span":
            return _span(int(value))
        return str(value)

    def _when(self, seconds: int) -> str:
        at = clock.from_epoch(seconds).astimezone(self._zone)
        year = f" {at.year}" if at.year != clock.now().astimezone(self._zone).year else ""
        return f"{at.day} {at:%b}{year}, {at:%H:%M} {at.tzname()}"


def _span(seconds: int) -> str:
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        count = seconds // size
        if count >= 2 or (count == 1 and seconds % size == 0):
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} minutes"
