"""A host who earns, for tests of what becomes of it."""

from __future__ import annotations

import uuid

from accounts.actors import Actor
from billing import services
from billing.models import Account, Meter
from core import clock, money
from core.ids import new_id

USD = money.NANO
SYSTEM = Actor.system()


def use(
    renter: Actor,
    host: Actor,
    *,
    usd: int = 10,
    subject_id: uuid.UUID | None = None,
    place_id: uuid.UUID | None = None,
) -> Meter:
    """Let a renter have used a host's machine for 1,000 seconds that cost `usd` with a fee of a tenth."""
    now = clock.epoch()
    services.deposit(actor=SYSTEM, owner_id=renter.user_id, amount=usd * USD, idem=str(new_id()))
    Account.objects.filter(kind="wallet", owner_id=renter.user_id, burn=0).update(asof=now - 1000)
    meter = services.open_meter(
        actor=SYSTEM,
        kind="compute",
        owner_id=renter.user_id,
        payee_id=host.user_id,
        rate=usd * USD // 1000,
        fee_bps=1000,
        subject_id=subject_id or new_id(),
        place_id=place_id,
        at=now - 1000,
    )
    return services.close_meter(actor=SYSTEM, meter_id=meter.pk, at=now)


def have(host: Actor) -> tuple[int, int, int]:
    """What a host has pending and available, and what it owes, in nano-units."""
    balance = services.host_balance_of(owner_id=host.user_id)
    return balance.pending, balance.available, balance.owed
