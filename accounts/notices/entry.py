"""What one entry of the catalogue says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from string import Formatter

PAGE, MAIL = "page", "mail"
MONEY = "money"
CHANNELS = (PAGE, MAIL)
AUDIENCES = {"account": "Your account", "renter": "Renting and money", "host": "Your machines"}
_BOTH = frozenset(CHANNELS)
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entry:
    """One thing that people are told.

    Args:
        audience: account, renter or host: under which heading it is chosen.
        tone: information, usable, waiting or failed, as badges have it.
        when: what has to happen, for the page of choices and the documentation.
        title, body: the sentences, with fields.
        page: the name of the address that it leads to, with the subject's id when `subject`.
        on: the channels it goes through until somebody chooses otherwise.
        fixed: the channels that cannot be switched off.
        quiet: for so many seconds after one about the same subject, another one is not mailed.

    `fields` is what has to be known to say it: those of its sentences, and `currency` when one of them is money.
    """

    code: str
    audience: str
    tone: str
    when: str
    title: str
    body: str
    page: str
    subject: bool = False
    on: frozenset[str] = _BOTH
    fixed: frozenset[str] = _NONE
    quiet: int = 0
    fields: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        parts = list(Formatter().parse(self.title + self.body))
        fields = {name for _, name, _, _ in parts if name}
        if any(spec == MONEY for _, _, spec, _ in parts):
            fields.add("currency")
        object.__setattr__(self, "fields", frozenset(fields))
