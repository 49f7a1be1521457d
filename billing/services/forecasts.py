"""Warnings before a wallet runs out, at hours known in advance. Instants in epoch seconds."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from billing import metering
from billing.events import WalletLow
from billing.models import Account
from core import clock, outbox


def warn_low_wallets(*, limit: int = 500) -> int:
    """Say which wallets run out within one of the warning times; return how many were warned.

    Once for each time that is crossed. What is paid in, or burnt no longer, makes the warning new again; a
    pause of everything that burns does not.
    """
    done = 0
    while True:
        warned, looked = _warn_some(limit)
        done += warned
        if looked < limit:
            return done


@transaction.atomic
def _warn_some(limit: int) -> tuple[int, int]:
    now, levels = clock.epoch(), settings.DC.low_balance_seconds
    if not levels:
        return 0, 0
    soon = Q(runs_out__gt=now, runs_out__lte=now + max(levels))
    # Who was warned at this level or a later one has nothing new to hear; who has more again is forgotten.
    news = soon & (Q(warned=None) | _crosses(now, levels))
    better = Q(warned__isnull=False, runs_out__gt=F("warned") + now)
    wallets = list(Account.objects.filter(news | better).lock_free()[:limit])
    warned = 0
    for wallet in wallets:
        assert wallet.runs_out is not None
        level = metering.warning_level(left=wallet.runs_out - now, levels=levels)
        if level is not None and (wallet.warned is None or level < wallet.warned):
            outbox.publish(
                WalletLow(
                    owner_id=str(wallet.owner_id),
                    currency=wallet.currency,
                    within=level,
                    runs_out=wallet.runs_out,
                )
            )
            warned += 1
        wallet.warned = level
    Account.objects.bulk_update(wallets, ["warned"])
    return warned, len(wallets)


def _crosses(now: int, levels: list[int]) -> Q:
    """Return whose money ends within a level that is nearer than the last warning."""
    crossed = Q()
    for level in levels:
        crossed |= Q(warned__gt=level, runs_out__lte=now + level)
    return crossed
