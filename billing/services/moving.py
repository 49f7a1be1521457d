"""How a deposit changes its state: by the table, written down, and told."""

from __future__ import annotations

from typing import Any

from accounts.actors import Actor
from audit import services as audit
from billing.events import DepositChanged
from billing.machine import DepositState
from billing.models import Deposit
from billing.services.wallets import announce
from core import clock, outbox


def move_deposit(actor: Actor, found: Deposit, to: DepositState, **fields: Any) -> None:
    """Move a locked deposit, write who did it, and tell whoever watches."""
    fields = {"changed_at": clock.now(), **fields}
    if not Deposit.objects.move(found.pk, DepositState(found.state), to, **fields):
        raise RuntimeError(f"{found} is locked, yet it is no longer {found.state}")
    found.refresh_from_db()
    record_deposit(actor, found, f"deposit.{to.value}")
    outbox.publish(
        DepositChanged(deposit_id=str(found.pk), owner_id=str(found.owner_id), state=to.value)
    )
    announce(found.owner_id)


def record_deposit(actor: Actor, found: Deposit, verb: str, **data: Any) -> None:
    """Write down what happened to a deposit."""
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="deposit",
        subject_id=found.pk,
        data={"owner": str(found.owner_id), "amount": found.amount, **data},
    )
