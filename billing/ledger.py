"""How money moves. Two phases, always: lock wallets by id, then everything else through one INSERT.

`now` is read after the lock: read before it, a writer that waited would move `asof` backwards and bill
a second twice.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from django.db import connection
from django.db.models import Max, Q

from billing import metering
from billing.models import Account, AccountKind, Meter, Refund, Transfer
from core import clock
from core.ids import new_id


def account_of(kind: AccountKind, owner_id: uuid.UUID | None, currency: str) -> Account:
    """Return an account, made on first use; two makers at once get the same one."""
    live = kind in {AccountKind.WALLET, AccountKind.HOST, AccountKind.HOST_FREE}
    account, _ = Account.objects.get_or_create(
        kind=kind.value,
        owner_id=owner_id,
        currency=currency,
        defaults={"floor": 0 if live else None, "asof": clock.epoch()},
    )
    return account


def lock_wallet(account_id: int) -> Account:
    """Lock a wallet until the transaction ends."""
    return Account.objects.lock().get(pk=account_id)


def settle(wallet: Account, *, until: int, ends: Mapping[uuid.UUID, int] | None = None) -> None:
    """Post what a locked wallet's open meters have used, and move its line's start there.

    Args:
        until: epoch seconds; clamped to [asof, runs_out], so the wallet never goes below what it holds.
        ends: meter id -> the second at which that meter ends; before what is posted, the difference
            is paid back by a reversal that names the interval.
    """
    ends = ends or {}
    point = metering.accrued_until(now=until, asof=wallet.asof, runs_out=wallet.runs_out)
    group, transfers = new_id(), []
    meters = list(Meter.objects.filter(wallet=wallet, ended=None).order_by("pk"))
    for meter in meters:
        end = max(meter.started, min(ends.get(meter.pk, point), point))
        if end >= meter.settled:
            transfers += _interval(meter, meter.settled, end, group)
        else:
            transfers += _reversal(meter, end, group)
        meter.settled = end
        if meter.pk in ends:
            meter.ended = end
    post(transfers)
    Meter.objects.bulk_update(meters, ["settled", "ended"])
    wallet.refresh_from_db(fields=["balance"])
    wallet.asof = point
    wallet.burn = sum(meter.rate for meter in meters if meter.ended is None)
    redraw(wallet)


def free(wallet: Account) -> int:
    """Return what a locked wallet has now and nothing holds, what is on its line counted as spent."""
    point = metering.accrued_until(now=clock.epoch(), asof=wallet.asof, runs_out=wallet.runs_out)
    used = metering.charge(rate=wallet.burn, start=wallet.asof, end=point)
    return wallet.balance - wallet.held - used


def redraw(wallet: Account) -> None:
    """Write a locked wallet's line after its burn, its held money or its balance has changed."""
    wallet.runs_out = metering.runs_out(
        balance=wallet.balance, held=wallet.held, burn=wallet.burn, asof=wallet.asof
    )
    wallet.save(update_fields=["held", "burn", "asof", "runs_out"])


def start_meter(wallet: Account, meter: Meter, *, at: int) -> None:
    """Open an unsaved meter of a locked, settled wallet at `at` (epoch seconds).

    When the wallet is posted beyond `at` (something else of it changed first), the seconds in between
    are posted now, as far as the free money reaches and no second of the same subject is billed twice.
    After the clock was set back they lie in the future: then the meter starts where the wallet is.
    """
    meter.started = meter.settled = wallet.asof
    if at < wallet.asof <= clock.epoch():
        affordable = (wallet.balance - wallet.held) // meter.rate
        before = Meter.objects.filter(subject_id=meter.subject_id, kind=meter.kind)
        ended = before.aggregate(last=Max("ended"))["last"]
        meter.started = max(at, wallet.asof - affordable, ended or 0)
        meter.started = min(meter.started, wallet.asof)
    meter.save(force_insert=True)
    Transfer.objects.bulk_create(_interval(meter, meter.started, wallet.asof, new_id()))
    wallet.refresh_from_db(fields=["balance"])
    wallet.burn += meter.rate
    redraw(wallet)


def shorten(wallet: Account, meter: Meter, *, end: int) -> None:
    """Let an ended meter of a locked wallet have ended earlier, and pay the difference back."""
    post(_reversal(meter, end, new_id()))
    meter.settled = meter.ended = end
    meter.save(update_fields=["settled", "ended"])
    wallet.refresh_from_db(fields=["balance"])
    redraw(wallet)


def post(transfers: list[Transfer]) -> None:
    """Post transfers in one statement; what a host lacks for them is covered, or becomes the host's debt.

    The wallets among them are locked. Hosts are locked here, after all wallets and in id order, and only
    when one of them pays.
    """
    Transfer.objects.bulk_create(transfers + _covers(transfers))


def _covers(transfers: list[Transfer]) -> list[Transfer]:
    """Return what has to reach hosts' earnings first, so that they can pay: from what is free, then as a debt."""
    pays: Counter[int] = Counter()
    for transfer in transfers:
        pays[transfer.src_id] += transfer.amount
        pays[transfer.dst_id] -= transfer.amount
    ends = {end.pk: end for t in transfers for end in (t.src, t.dst)}
    paying = [e for e in ends.values() if e.kind == AccountKind.HOST.value and pays[e.pk] > 0]
    covers: list[Transfer] = []
    for host, free in locked_hosts(paying):
        missing = pays[host.pk] - host.balance
        if missing <= 0:
            continue
        debt = account_of(AccountKind.HOST_DEBT, host.owner_id, host.currency)
        from_free = min(missing, free.balance)
        legs = [(free, from_free, "cover"), (debt, missing - from_free, "host_owed")]
        covers += [
            Transfer(group_id=transfers[0].group_id, src=src, dst=host, amount=amount, kind=kind,
                     created_at=clock.now())
            for src, amount, kind in legs if amount > 0
        ]  # fmt: skip
    return covers


def locked_hosts(hosts: Sequence[Account]) -> list[tuple[Account, Account]]:
    """Lock hosts' accounts in id order; return for each what it has earned and what of it is free."""
    free = AccountKind.HOST_FREE.value
    owners = [host.owner_id for host in hosts]
    known = Account.objects.filter(kind=free, owner_id__in=owners)
    have = set(known.values_list("owner_id", "currency"))
    lack = [host for host in hosts if (host.owner_id, host.currency) not in have]
    Account.objects.bulk_create(
        [Account(kind=free, owner_id=h.owner_id, currency=h.currency, floor=0) for h in lack],
        ignore_conflicts=True,
    )
    both = Q(pk__in=[host.pk for host in hosts]) | Q(kind=free, owner_id__in=owners)
    rows = {(r.kind, r.owner_id, r.currency): r for r in Account.objects.lock().filter(both)}
    kind = AccountKind.HOST.value
    return [(rows[kind, h.owner_id, h.currency], rows[free, h.owner_id, h.currency]) for h in hosts]


def post_line(wallet_ids: list[int], *, until: int) -> None:
    """Post, in one statement, what locked wallets have used up to `until` or the end of their money.

    The line stays the same, so nothing that is indexed changes. Meters that are ended are done.
    """
    with connection.cursor() as cursor:
        cursor.execute(_POST, {"wallets": wallet_ids, "until": until, "now": clock.now()})


# One statement: it reads all rows as they were before it, whatever it changes.
_POST = """
    WITH due AS MATERIALIZED (
        SELECT a.id, gen_random_uuid() AS group_id, LEAST(%(until)s, a.runs_out) AS until,
               (SELECT p.id FROM billing_account p WHERE p.kind = 'platform'
                AND p.owner_id IS NULL AND p.currency = a.currency) AS platform
        FROM billing_account a WHERE a.id = ANY(%(wallets)s)
    ), used AS MATERIALIZED (
        SELECT m.id AS meter, m.wallet_id, m.payee_id, m.rate, m.payee_rate, m.settled, d.group_id, d.until, d.platform
        FROM due d JOIN billing_meter m ON m.wallet_id = d.id AND m.ended IS NULL
        WHERE m.settled < d.until
    ), posted AS (
        INSERT INTO billing_transfer
            (group_id, src_id, dst_id, amount, kind, meter_id, t0, t1, created_at)
        SELECT u.group_id, u.wallet_id, leg.dst, leg.rate * (u.until - u.settled), leg.kind,
               u.meter, u.settled, u.until, %(now)s
        FROM used u CROSS JOIN LATERAL (VALUES
            (u.payee_id, u.payee_rate, 'share'), (u.platform, u.rate - u.payee_rate, 'fee')
        ) AS leg (dst, rate, kind)
        WHERE leg.rate > 0
    ), settled AS (
        UPDATE billing_meter m SET settled = u.until FROM used u WHERE m.id = u.meter
    )
    UPDATE billing_account a SET asof = d.until FROM due d WHERE a.id = d.id AND a.asof < d.until
"""


def _interval(meter: Meter, start: int, end: int, group: uuid.UUID) -> list[Transfer]:
    """Return the host's share and the platform's fee of [start, end)."""
    return [
        Transfer(
            group_id=group,
            src=meter.wallet,
            dst=other,
            amount=metering.charge(rate=rate, start=start, end=end),
            kind=kind,
            meter=meter,
            t0=start,
            t1=end,
            created_at=clock.now(),
        )
        for other, rate, kind in _legs(meter)
        if end > start
    ]


def _reversal(meter: Meter, end: int, group: uuid.UUID) -> list[Transfer]:
    """Return the way back of everything posted from `end` on: one row a leg, which names the row it mends.

    A gap may reach over several postings; the one in which it begins is named.
    """
    backs = [
        Transfer(
            group_id=group,
            src=other,
            dst=meter.wallet,
            amount=metering.charge(rate=rate, start=end, end=meter.settled),
            kind=f"{kind}_back",
            meter=meter,
            t0=end,
            t1=meter.settled,
            reverses=Transfer.objects.get(meter=meter, kind=kind, t0__lte=end, t1__gt=end),
            created_at=clock.now(),
        )
        for other, rate, kind in _legs(meter)
    ]
    return backs + _undone(meter, end, group)


def _undone(meter: Meter, end: int, group: uuid.UUID) -> list[Transfer]:
    """Return the way back of refunds and credits of seconds from `end` on: no second is given back twice.

    The same statement gives the wallet at least as much, so it can pay.
    """
    given = Transfer.objects.filter(reverses__meter=meter, reverses__t1__gt=end, meter=None)
    rows = list(given.select_related("src", "reverses").order_by("reverses_id", "pk"))
    credits = Refund.objects.filter(pk__in={row.group_id for row in rows}, kind="credit")
    spans = {made.pk: (made.evidence["from"], made.evidence["to"]) for made in credits}
    undone: Counter[int] = Counter()
    for earlier in Transfer.objects.filter(reverses__in=rows):
        undone[earlier.reverses_id or 0] += earlier.amount
    found = []
    for _, of_one in groupby(rows, key=lambda row: row.reverses_id):
        stands = [(row, row.amount - undone[row.pk]) for row in of_one]
        for row, amount in _to_undo(stands, spans, meter.settled, end):
            found.append(
                Transfer(group_id=group, src=meter.wallet, dst=row.src, amount=amount, kind="undone",
                         reverses=row, created_at=clock.now())
            )  # fmt: skip
    return found


def _to_undo(
    stands: list[tuple[Transfer, int]],
    spans: Mapping[uuid.UUID, tuple[int, int]],
    settled: int,
    end: int,
) -> list[tuple[Transfer, int]]:
    """Return how much to undo of what was given back of one posting, the oldest first, when it ends at `end`.

    Of a credit, which names its seconds, what of them lies there; of refunds, which name none, as much as
    is more than what is left of the posting, of the latest first.
    """
    posting = stands[0][0].reverses
    assert posting is not None
    assert posting.t0 is not None
    assert posting.t1 is not None
    rate, last = posting.amount // (posting.t1 - posting.t0), min(posting.t1, settled)
    dated = [(row, amount) for row, amount in stands if row.group_id in spans]
    others = [(row, amount) for row, amount in stands if row.group_id not in spans]
    given = [
        metering.Given(amount, max(posting.t0, since), min(last, until))
        for row, amount in dated
        for since, until in [spans[row.group_id]]
    ]
    behind = metering.given_behind(given, rate=rate, end=end)
    found = [(row, part) for (row, _), part in zip(dated, behind, strict=True)]
    keeps = metering.charge(rate=rate, start=posting.t0, end=max(posting.t0, end))
    excess = sum(amount for _, amount in stands) - sum(behind) - keeps
    for row, amount in reversed(others):
        part = max(0, min(excess, amount))
        excess -= part
        found.append((row, part))
    return [(row, part) for row, part in found if part]


def _legs(meter: Meter) -> list[tuple[Account, int, str]]:
    """Return who is paid by a second of a meter, how much (nano-units), and as what."""
    platform = account_of(AccountKind.PLATFORM, None, meter.wallet.currency)
    legs = [
        (meter.payee, meter.payee_rate, "share"),
        (platform, meter.rate - meter.payee_rate, "fee"),
    ]
    return [leg for leg in legs if leg[1] > 0]
