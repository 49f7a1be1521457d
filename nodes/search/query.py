"""What somebody asks of the search, read from `name=value` pairs and refused when it makes no sense. Pure.

Nothing is asked for silently: a query without filters finds whatever can start now.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from core import money
from core.errors import Invalid
from nodes.search.fields import FIELDS, FLAGS, Kind

MOST_CHARACTERS = 4000
MOST_VALUES = 50
MOST_GPUS = 64
MOST_DISK_GB = 100_000
MOST_HOURS = 8760
MOST_ROWS = 200
LARGEST = 2**31 - 1
USUAL = {"disk_gb": 10, "hours": 1, "limit": 50}
LIMITS = {
    "gpus": (0, MOST_GPUS),
    "disk_gb": (1, MOST_DISK_GB),
    "hours": (1, MOST_HOURS),
    "limit": (1, MOST_ROWS),
}
ENDS = ("_min", "_max", "_not")
# The one number that no column holds: it is worked out for what is asked.
PRICE = "price_hourly"
WHOLE = re.compile(r"[0-9]{1,18}")
AMOUNT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9})?")


class Sort(StrEnum):
    """What comes first; equals are ordered by the offer's number, what is not known comes last."""

    PRICE = "price"  # all-in for what is asked, cheapest first
    VALUE = "value"  # single-precision operations for the money, most first
    READY = "ready"  # seconds from order to running, soonest first
    RELIABILITY = "reliability"  # most reliable first


class Bounds(NamedTuple):
    """A number lies in here, both ends included; of prices in nano-units a second, all-in."""

    name: str
    low: int
    high: int


class Words(NamedTuple):
    """A text is one of `wanted` (when there are any) and none of `unwanted`."""

    name: str
    wanted: frozenset[str]
    unwanted: frozenset[str]


class Flag(NamedTuple):
    """A flag is known and says this."""

    name: str
    on: bool


Filter = Bounds | Words | Flag


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `gpus` None: one card, or a machine without any; `after`: the sort key of the last row seen."""

    gpus: int | None = None
    disk_gb: int = USUAL["disk_gb"]
    hours: int = USUAL["hours"]
    filters: tuple[Filter, ...] = ()
    sort: Sort = Sort.PRICE
    limit: int = USUAL["limit"]
    after: int = -1

    @property
    def factor(self) -> int:
        """How many times the compute rate is paid: for each card, or once for a whole machine."""
        return max(self.gpus or 1, 1)

    @property
    def subject(self) -> tuple[int | None, int, tuple[Filter, ...]]:
        """What decides what fits; the rest decides what of it is shown, and in which order."""
        return self.gpus, self.disk_gb, self.filters

    @property
    def priced(self) -> bool:
        """Whether prices decide what fits."""
        return any(each.name == PRICE for each in self.filters)

    def without(self, name: str) -> Query:
        """Return the same question without the filter of one field, or with the least that can be asked of it."""
        if name == "gpus":
            return replace(self, gpus=None, after=-1)
        if name == "disk_gb":
            return replace(self, disk_gb=1, after=-1)
        kept = tuple(each for each in self.filters if each.name != name)
        return replace(self, filters=kept, after=-1)

    def cursor(self, key: int) -> str:
        """Return where the next page begins, for people to send back unread."""
        text = f"{self._place()}.{key}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _place(self) -> str:
        return f"{self.sort}.{'-' if self.gpus is None else self.gpus}.{self.disk_gb}"


def parse(pairs: Iterable[tuple[str, Sequence[str]]]) -> Query:
    """Return the question that `name -> values` pairs ask.

    Raises Invalid `search_too_long`, `filter_unknown`, `filter_not_measured`, `filter_value`, `sort_unknown`,
    `cursor_invalid`.
    """
    given = {name: list(values) for name, values in pairs}
    _require_short(given)
    sort, after = _once(given, "sort"), _once(given, "after")
    numbers = {name: _asked(given, name) for name in LIMITS}
    asked = {name: value for name, value in numbers.items() if value is not None}
    query = Query(**asked, sort=_sort(sort), filters=_filters(given))
    return query if after is None else replace(query, after=_key(query, after))


def _require_short(given: dict[str, list[str]]) -> None:
    length = sum(len(name) + len(value) for name, values in given.items() for value in values)
    if length > MOST_CHARACTERS or any(len(values) > MOST_VALUES for values in given.values()):
        raise Invalid(
            "search_too_long",
            f"A search has at most {MOST_CHARACTERS} characters and {MOST_VALUES} values of one field.",
        )


def _once(given: dict[str, list[str]], name: str) -> str | None:
    values = given.pop(name, [])
    if len(values) > 1:
        raise _wrong(name, "is given more than once; give it once")
    return values[0] if values else None


def _asked(given: dict[str, list[str]], name: str) -> int | None:
    text = _once(given, name)
    if text is None:
        return None
    low, high = LIMITS[name]
    if not WHOLE.fullmatch(text) or not low <= int(text) <= high:
        raise _wrong(name, f"is a whole number from {low} to {high}")
    return int(text)


def _sort(text: str | None) -> Sort:
    if text is None:
        return Sort.PRICE
    if text not in set(Sort):
        raise Invalid("sort_unknown", f"Sort by one of: {', '.join(Sort)}.")
    return Sort(text)


def _key(query: Query, cursor: str) -> int:
    """Return the sort key in a cursor, which must be of the same sort, cards and disk."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    place, _, key = text.rpartition(".")
    if place != query._place() or not re.fullmatch("[0-9]{1,19}", key) or int(key) >= 2**63:
        raise Invalid(
            "cursor_invalid",
            "This `after` is not from a page of this search. Begin again without it.",
        )
    return int(key)


def _filters(given: dict[str, list[str]]) -> tuple[Filter, ...]:
    """Return one filter a field, in the order of the fields' names."""
    by_field: dict[str, dict[str, list[str]]] = {}
    for name, values in given.items():
        field, end = _split(name)
        by_field.setdefault(field, {})[end] = values
    return tuple(_filter(name, by_field[name]) for name in sorted(by_field))


def _split(name: str) -> tuple[str, str]:
    if name in FIELDS:
        return name, ""
    field, end = name[:-4], name[-4:]
    return (field, end) if end in ENDS else (name, "")


def _filter(name: str, ends: dict[str, list[str]]) -> Filter:
    field = FIELDS.get(name)
    if field is not None and field.kind is None:
        raise Invalid("filter_not_measured", f"Nobody measures `{name}` yet; leave it out.")
    allowed = {Kind.NUMBER: {"", "_min", "_max"}, Kind.TEXT: {"", "_not"}, Kind.FLAG: {""}}
    kind = field.kind if field is not None else None
    if kind not in allowed or not ends.keys() <= allowed[kind]:
        shown = ", ".join(f"{name}{end}"[:60] for end in ends)
        raise Invalid(
            "filter_unknown", f"There is no filter `{shown}`; docs/offer-fields.md lists them."
        )
    if kind is Kind.TEXT:
        return _words(name, ends)
    if name in FLAGS:
        return Flag(name, _single(name, ends[""], ("true", "false")) == "true")
    return _bounds(name, ends)


def _words(name: str, ends: dict[str, list[str]]) -> Words:
    wanted, unwanted = frozenset(ends.get("", ())), frozenset(ends.get("_not", ()))
    if "" in wanted | unwanted:
        raise _wrong(name, "is empty; give a value or leave it out")
    return Words(name, wanted, unwanted)


def _single(name: str, values: list[str], choices: tuple[str, ...] = ()) -> str:
    if len(values) != 1:
        raise _wrong(name, "is given more than once; give it once")
    if choices and values[0] not in choices:
        raise _wrong(name, f"is one of: {', '.join(choices)}")
    return values[0]


def _bounds(name: str, ends: dict[str, list[str]]) -> Bounds:
    read = _rates if name == PRICE else _whole
    low, high = 0, 2**62
    for end, values in ends.items():
        least, most = read(name, _single(name, values))
        low = max(low, least) if end != "_max" else low
        high = min(high, most) if end != "_min" else high
    return Bounds(name, low, high)


def _whole(name: str, text: str) -> tuple[int, int]:
    if not WHOLE.fullmatch(text) or int(text) > LARGEST:
        raise _wrong(name, f"is a whole number from 0 to {LARGEST}")
    return int(text), int(text)


def _rates(name: str, text: str) -> tuple[int, int]:
    """Return the least rate (nano/s) that costs at least this much an hour, and the greatest that costs at most it."""
    if not AMOUNT.fullmatch(text):
        raise _wrong(name, "is an amount such as 0.48, below a million")
    nano = money.nano_from_decimal(Decimal(text))
    return -(-nano // money.SECONDS_PER_HOUR), nano // money.SECONDS_PER_HOUR


def _wrong(name: str, sentence: str) -> Invalid:
    return Invalid("filter_value", f"`{name}` {sentence}.")
