"""What hosts have earned: young at first, free for a payout when it has matured. Amounts in nano-units.

Money that comes back from a host is taken from what is young, then from what is free; the rest is owed,
and paid by the next earnings.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from billing import ledger, queries
from billing.models import Account, AccountKind, Transfer
from billing.queries import PlaceDay
from billing.services.wallets import announce, find_wallet
from core import clock
from core.ids import new_id

DAYS_AT_MOST = 92


@dataclass(frozen=True)
class HostBalance:
    """What a host has: `pending` matures (`ripens`: how much on which day), `payable` <= `available`.

    `disputed` is left alone by payouts while renters' banks ask for it; `frozen` says why nothing is
    paid out at all: "" when nothing stands against it.
    """

    pending: int
    available: int
    payable: int
    disputed: int
    owed: int
    frozen: str
    ripens: list[tuple[dt.date, int]]
    currency: str


def host_balance_of(*, owner_id: uuid.UUID, currency: str | None = None) -> HostBalance:
    """Return what a host has earned and not taken out, as it is posted. Writes nothing."""
    currency = currency or settings.CURRENCY
    mine = Account.objects.filter(owner_id=owner_id, currency=currency)
    kept = {account.kind: account for account in mine}
    host = kept.get(AccountKind.HOST.value)
    pending = host.balance if host else 0
    free = kept.get(AccountKind.HOST_FREE.value)
    available = free.balance if free else 0
    owed = queries.owed_by_hosts(owners=[owner_id], currency=currency).get(owner_id, 0)
    disputed = queries.disputed_earnings(payee_id=owner_id, currency=currency)
    frozen = why_frozen(owner_id, currency, owed)
    payable = 0 if frozen else max(0, min(available, available + pending - disputed))
    ripens = queries.ripening(host=host.pk) if host else []
    return HostBalance(pending, available, payable, disputed, owed, frozen, ripens, currency)


def why_frozen(owner_id: uuid.UUID, currency: str, owed: int) -> str:
    """Return why a host is paid nothing at the moment: a stable word, empty when it is paid."""
    if owed > 0:
        return "host_owes"
    return "wallet_frozen" if find_wallet(owner_id, currency).frozen else ""


def earned_by_day(*, owner_id: uuid.UUID, days: int = 31) -> list[PlaceDay]:
    """Return what each machine has earned on each of the last days (UTC), the latest first."""
    kind = AccountKind.HOST.value
    host = Account.objects.filter(kind=kind, owner_id=owner_id, currency=settings.CURRENCY).first()
    today = clock.now().date()
    first = today - dt.timedelta(days=min(days, DAYS_AT_MOST) - 1)
    return queries.earned_by_day(host=host.pk, first=first, last=today) if host else []


def mature_earnings(*, chunk: int = 500) -> int:
    """Make free what has matured and pay what hosts owe; return how many hosts something moved for.

    Chunk by chunk, each a transaction with one INSERT. Hosts that somebody else holds come another time.
    """
    done, after = 0, 0
    while last := _some_after(after, chunk):
        with transaction.atomic():
            done += _mature(after, last)
        after = last
    return done


def _due() -> Q:
    """Hosts that have something young, or something free though they have owed before: a payout came back."""
    mine = Account.objects.filter(owner_id=OuterRef("owner_id"), currency=OuterRef("currency"))
    free = Exists(mine.filter(kind=AccountKind.HOST_FREE.value, balance__gt=0))
    owing = Exists(mine.filter(kind=AccountKind.HOST_DEBT.value))
    return Q(kind=AccountKind.HOST.value) & (Q(balance__gt=0) | (Q(free) & Q(owing)))


def _some_after(after: int, chunk: int) -> int | None:
    """Return the last of the next hosts, None when there are none."""
    next_ones = Account.objects.filter(_due(), pk__gt=after).order_by("pk")
    ids = list(next_ones.values_list("pk", flat=True)[:chunk])
    return ids[-1] if ids else None


def _mature(after: int, last: int) -> int:
    hosts = list(Account.objects.filter(_due(), pk__gt=after, pk__lte=last).order_by("pk"))
    moves: list[Transfer] = []
    for currency in sorted({host.currency for host in hosts}):
        some = [host for host in hosts if host.currency == currency]
        pairs = ledger.locked_hosts(some)
        young = queries.young_of(hosts=[host.pk for host, _ in pairs])
        owners = [host.owner_id for host, _ in pairs if host.owner_id is not None]
        owed = queries.owed_by_hosts(owners=owners, currency=currency)
        for host, free in pairs:
            moves += _moves(host, free, young.get(host.pk, 0), owed.get(host.owner_id, 0))
    Transfer.objects.bulk_create(moves)
    changed = {move.src.owner_id for move in moves}
    for owner_id in changed:
        announce(owner_id)
    return len(changed)


def _moves(host: Account, free: Account, young: int, owed: int) -> list[Transfer]:
    """Return what is posted for one locked host: its debt first, then what has matured."""
    debt = ledger.account_of(AccountKind.HOST_DEBT, host.owner_id, host.currency) if owed else host
    pays = min(owed, host.balance)
    legs = [
        (host, debt, pays, "host_debt_paid"),
        (free, debt, min(owed - pays, free.balance), "host_debt_paid"),
        (host, free, host.balance - pays - young, "matured"),
    ]
    group, now = new_id(), clock.now()
    horizon = clock.epoch() - min(
        settings.DC.maturity_card_seconds, settings.DC.maturity_other_seconds
    )
    return [
        Transfer(group_id=group, src=src, dst=dst, amount=amount, kind=kind, created_at=now,
                 t1=horizon if kind == "matured" else None)
        for src, dst, amount, kind in legs if amount > 0
    ]  # fmt: skip
