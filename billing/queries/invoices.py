"""What a wallet used in a month, and what of earlier use it got back in it. Nano-units."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q, Sum

from billing.models import AccountKind, Transfer
from billing.queries.months import Window


@dataclass(frozen=True)
class Used:
    """What was paid for one thing at one rate; below zero: what came back. `rate` in nano/s, 0: not metered."""

    subject_id: uuid.UUID | None
    kind: str
    rate: int
    amount: int

    @property
    def seconds(self) -> int:
        """Return how many seconds the amount is: use is rate x seconds, exactly."""
        return self.amount // self.rate if self.rate else 0


def _wallet(end: str, owner_id: uuid.UUID, currency: str) -> Q:
    kind = AccountKind.WALLET.value
    fields = {"kind": kind, "owner_id": owner_id, "currency": currency}
    return Q(**{f"{end}__{name}": value for name, value in fields.items()})


def used_in(*, window: Window, owner_id: uuid.UUID, currency: str) -> list[Used]:
    """Return what a wallet has paid for use in a window, by thing, kind and rate."""
    metered = Transfer.objects.filter(
        window.covers(), _wallet("src", owner_id, currency), kind__in=["share", "fee"]
    )
    names = ("meter__subject_id", "meter__kind", "meter__rate")
    rows = metered.values_list(*names).annotate(total=Sum("amount")).order_by(*names)
    return [Used(subject, kind, rate, int(total)) for subject, kind, rate, total in rows]


@dataclass(frozen=True)
class GivenBack:
    """A part of a posting that came back into a wallet; below zero: that was taken again, for it came twice."""

    original: Transfer
    kind: str
    amount: int


def given_back_in(*, window: Window, owner_id: uuid.UUID, currency: str) -> list[GivenBack]:
    """Return what came back into a wallet in a window for use that it had paid before, whenever that was."""
    naming = Transfer.objects.filter(window.covers(), reverses__isnull=False)
    naming = naming.select_related("reverses__meter", "reverses__reverses__meter").order_by("pk")
    came = naming.filter(_wallet("dst", owner_id, currency))
    went = naming.filter(_wallet("src", owner_id, currency))
    return [GivenBack(_original(row), row.kind, row.amount) for row in came] + [
        GivenBack(_original(row), row.kind, -row.amount) for row in went
    ]


def _original(row: Transfer) -> Transfer:
    """Return the posting that a row gives back, or that the row which it takes again had given back."""
    named = row.reverses
    assert named is not None
    return named.reverses or named
