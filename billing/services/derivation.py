"""A bill told by the audit log alone, beside what the ledger has posted for it. The one rule behind every bill.

One charge is one interval at one rate: `meter.opened` begins it, the last `meter.closed` ends it, and
its price is rate x seconds. Instants in epoch seconds, amounts in nano-units, rates in nano/s.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum

from audit import services as audit
from audit.models import AuditEvent
from billing import metering
from billing.models import Meter, Transfer
from core import clock


@dataclass(frozen=True)
class PaidBack:
    """A posting that took an earlier one back in part; `original` is the transfer it names."""

    transfer_id: int
    original: int
    kind: str
    start: int
    end: int
    amount: int


@dataclass(frozen=True)
class Posted:
    """What the ledger says of one charge, reversals taken off."""

    share: int
    fee: int
    transfers: int

    @property
    def amount(self) -> int:
        return self.share + self.fee


@dataclass(frozen=True)
class Charge:
    """One interval at one rate.

    Args:
        opened, closed: by the log; `closed` is None while it goes on.
        until: the end of what it has cost so far: `closed`, or now as far as the money reaches.
        settled: up to where it is in the ledger; [settled, until) is still on the line.
        closings: every event that ended it; more than one when it was shortened afterwards.
    """

    meter_id: uuid.UUID
    subject_id: uuid.UUID
    kind: str
    currency: str
    rate: int
    payee_rate: int
    opened: int
    closed: int | None
    until: int
    settled: int
    posted: Posted
    paid_back: tuple[PaidBack, ...]
    opening: AuditEvent | None
    closings: tuple[AuditEvent, ...]

    @property
    def seconds(self) -> int:
        return self.until - self.opened

    @property
    def amount(self) -> int:
        return metering.charge(rate=self.rate, start=self.opened, end=self.until)

    @property
    def host_share(self) -> int:
        return metering.charge(rate=self.payee_rate, start=self.opened, end=self.until)

    @property
    def fee(self) -> int:
        return self.amount - self.host_share

    @property
    def on_the_line(self) -> int:
        """What is used and not posted yet."""
        return metering.charge(rate=self.rate, start=self.settled, end=self.until)

    @property
    def agrees(self) -> bool:
        """Whether log and ledger say the same, share and fee each."""
        used = metering.charge(rate=self.rate, start=self.opened, end=self.settled)
        share = metering.charge(rate=self.payee_rate, start=self.opened, end=self.settled)
        return (self.posted.share, self.posted.fee) == (share, used - share)


def derive_charges(*, subject_id: uuid.UUID) -> list[Charge]:
    """Recompute a subject's bill from the events of its meters, oldest line first.

    The rows of the meters say only which there are, and up to where the ledger is posted.
    """
    now = clock.epoch()
    found = Meter.objects.filter(subject_id=subject_id).select_related("wallet")
    meters = list(found.order_by("started", "kind"))
    ids = [meter.pk for meter in meters]
    told = audit.timelines(subject_ids=ids, verbs=["meter.opened", "meter.closed"])
    posted, back = _posted(ids), _paid_back(ids)
    return [
        _charge(meter, told[meter.pk], posted[meter.pk], tuple(back[meter.pk]), now)
        for meter in meters
    ]


def _charge(
    meter: Meter,
    told: list[AuditEvent],
    posted: Posted,
    paid_back: tuple[PaidBack, ...],
    now: int,
) -> Charge:
    opening = next((event for event in told if event.verb == "meter.opened"), None)
    closings = tuple(event for event in told if event.verb == "meter.closed")
    # A meter that nobody opened costs nothing by the log: whatever is posted for it is wrong.
    said: dict[str, Any] = opening.data if opening else {"rate": 0, "at": meter.started}
    # Each closing is earlier than the one before it: the last word counts, whatever the clock did.
    closed = min((event.data["at"] for event in closings), default=None)
    until = closed
    if until is None:
        until = metering.accrued_until(now=now, asof=meter.settled, runs_out=meter.wallet.runs_out)
    return Charge(
        meter_id=meter.pk,
        subject_id=meter.subject_id,
        kind=said.get("kind", meter.kind),
        currency=meter.wallet.currency,
        rate=said["rate"],
        payee_rate=said.get("payee_rate", min(meter.payee_rate, said["rate"])),
        opened=said["at"],
        closed=closed,
        until=until,
        settled=meter.settled if closed is None else closed,
        posted=posted,
        paid_back=paid_back,
        opening=opening,
        closings=closings,
    )


def _posted(meter_ids: list[uuid.UUID]) -> dict[uuid.UUID, Posted]:
    """Return what the transfers of each meter have moved, by what they say they are."""
    moved: defaultdict[tuple[uuid.UUID, str], int] = defaultdict(int)
    many: defaultdict[uuid.UUID, int] = defaultdict(int)
    sums = Transfer.objects.filter(meter__in=meter_ids).values("meter_id", "kind")
    for row in sums.annotate(total=Sum("amount"), many=Count("id")):
        moved[row["meter_id"], row["kind"]] = int(row["total"])
        many[row["meter_id"]] += row["many"]
    return {
        each: Posted(
            share=moved[each, "share"] - moved[each, "share_back"],
            fee=moved[each, "fee"] - moved[each, "fee_back"],
            transfers=many[each],
        )
        for each in meter_ids
    }


def _paid_back(meter_ids: list[uuid.UUID]) -> dict[uuid.UUID, list[PaidBack]]:
    found: dict[uuid.UUID, list[PaidBack]] = {each: [] for each in meter_ids}
    rows = Transfer.objects.filter(meter__in=meter_ids, reverses__isnull=False)
    for row in rows.order_by("pk"):
        assert row.meter_id is not None
        found[row.meter_id].append(_back(row))
    return found


def _back(row: Transfer) -> PaidBack:
    assert row.reverses_id is not None
    assert row.t0 is not None
    assert row.t1 is not None
    return PaidBack(row.pk, row.reverses_id, row.kind, row.t0, row.t1, row.amount)
