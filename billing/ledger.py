"""How money moves. Two phases, always: lock wallets by id, then everything else through one INSERT.

`now` is read after the lock: read before it, a writer that waited would move `asof` backwards and bill
a second twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from billing import metering
from billing.models import Account, AccountKind, Meter, Transfer
from core import clock
from core.ids import new_id


def account_of(kind: AccountKind, owner_id: uuid.UUID | None, currency: str) -> Account:
    """Return an account, made on first use; two makers at once get the same one."""
    live = kind in {AccountKind.WALLET, AccountKind.HOST}
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
    group, transfers, meters = new_id(), [], list(Meter.objects.filter(wallet=wallet, ended=None))
    for meter in meters:
        end = max(meter.started, min(ends.get(meter.pk, point), point))
        if end >= meter.settled:
            transfers += _interval(meter, meter.settled, end, group, back=False)
        else:
            transfers += _interval(meter, end, meter.settled, group, back=True)
        meter.settled = end
        if meter.pk in ends:
            meter.ended = end
    Transfer.objects.bulk_create(transfers)
    Meter.objects.bulk_update(meters, ["settled", "ended"])
    wallet.refresh_from_db(fields=["balance"])
    wallet.asof = point
    wallet.burn = sum(meter.rate for meter in meters if meter.ended is None)
    redraw(wallet)


def redraw(wallet: Account) -> None:
    """Write a locked wallet's line after its burn, its held money or its balance has changed."""
    wallet.runs_out = metering.runs_out(
        balance=wallet.balance, held=wallet.held, burn=wallet.burn, asof=wallet.asof
    )
    wallet.save(update_fields=["held", "burn", "asof", "runs_out"])


def _interval(
    meter: Meter, start: int, end: int, group: uuid.UUID, *, back: bool
) -> list[Transfer]:
    """Return the host's share and the platform's fee of [start, end), or their way back."""
    wallet_currency = meter.wallet.currency
    platform = account_of(AccountKind.PLATFORM, None, wallet_currency)
    legs = [
        (meter.payee, meter.payee_rate, "share"),
        (platform, meter.rate - meter.payee_rate, "fee"),
    ]
    now = clock.now()
    return [
        Transfer(
            group_id=group,
            src=other if back else meter.wallet,
            dst=meter.wallet if back else other,
            amount=metering.charge(rate=rate, start=start, end=end),
            kind=f"{name}_back" if back else name,
            meter=meter,
            t0=start,
            t1=end,
            created_at=now,
        )
        for other, rate, name in legs
        if rate > 0 and end > start
    ]
