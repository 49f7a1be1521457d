"""A bill recomputed from the audit log alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Case, F, Sum, When

from audit import services as audit
from billing.models import Meter, Transfer


@dataclass(frozen=True)
class Replayed:
    """One meter told by the audit log alone, beside what the ledger has posted for it.

    Instants in epoch seconds, `amount` and `posted` in nano-units; `closed` is None while it runs.
    """

    kind: str
    rate: int
    opened: int
    closed: int | None
    amount: int
    posted: int

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.amount == self.posted


def replay(*, subject_id: uuid.UUID) -> list[Replayed]:
    """Recompute a bill from the events of its meters; the rows of the meters say only which there are."""
    lines = []
    for meter in Meter.objects.filter(subject_id=subject_id).order_by("started", "kind"):
        events = {event.verb: event.data for event in audit.timeline(subject_id=meter.pk)}
        opened = events.get("meter.opened", {"kind": meter.kind, "rate": 0, "at": meter.started})
        closed = events["meter.closed"]["at"] if "meter.closed" in events else None
        end = meter.settled if closed is None else closed
        lines.append(
            Replayed(
                kind=opened["kind"],
                rate=opened["rate"],
                opened=opened["at"],
                closed=closed,
                amount=opened["rate"] * (end - opened["at"]),
                posted=_posted(meter),
            )
        )
    return lines


def _posted(meter: Meter) -> int:
    """Return what the transfers of a meter have taken from its wallet, less what they gave back."""
    signed = Case(When(src_id=meter.wallet_id, then=F("amount")), default=-F("amount"))
    total = Transfer.objects.filter(meter=meter).aggregate(total=Sum(signed))["total"]
    return int(total or Decimal(0))
