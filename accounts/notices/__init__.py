"""What people are told, when, and through which channel: the catalogue of notices. Pure.

`docs/notifications.md` is made from it. A code is for programs and never changes its meaning; titles and
sentences are for people and may. Texts hold fields such as `{node}`, `{cost:money}` (nano-units of the notice's own
`currency`), `{at:when}` (epoch seconds) and `{seconds:span}`.
"""

from __future__ import annotations

from accounts.notices import account, earning, hosting, money, prices, renting
from accounts.notices.entry import AUDIENCES, CHANNELS, MAIL, MONEY, PAGE, Entry

_ENTRIES = (
    *account.ENTRIES,
    *money.ENTRIES,
    *renting.ENTRIES,
    *prices.ENTRIES,
    *hosting.ENTRIES,
    *earning.ENTRIES,
)
CATALOGUE = {entry.code: entry for entry in _ENTRIES}


def is_on(entry: Entry, channel: str, chosen: bool | None) -> bool:
    """Say whether a notice goes through a channel; `chosen` is None for who has not chosen."""
    if channel in entry.fixed:
        return True
    return channel in entry.on if chosen is None else chosen


def to_markdown() -> str:
    """Return the catalogue as one table for each audience."""
    parts = []
    for audience, heading in AUDIENCES.items():
        parts += [
            f"## {heading}",
            "",
            "| code | when | title | in the page | by mail |",
            "|---|---|---|---|---|",
            *[_row(entry) for entry in _ENTRIES if entry.audience == audience],
            "",
        ]
    return "\n".join(parts)


def _row(entry: Entry) -> str:
    channels = " | ".join(_word(entry, channel) for channel in CHANNELS)
    return f"| `{entry.code}` | {entry.when} | {entry.title} | {channels} |"


def _word(entry: Entry, channel: str) -> str:
    if channel in entry.fixed:
        return "always"
    return "on" if channel in entry.on else "off"


__all__ = [
    "AUDIENCES",
    "CATALOGUE",
    "CHANNELS",
    "MAIL",
    "MONEY",
    "PAGE",
    "Entry",
    "is_on",
    "to_markdown",
]
