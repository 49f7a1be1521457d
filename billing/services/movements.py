"""One movement of a wallet, explained: the interval and the rate, or the payment, that it comes from."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q

from accounts.actors import Actor
from billing.models import AccountKind, Deposit, DepositReturn, Dispute, Transfer
from core.errors import NotFound


@dataclass(frozen=True)
class Movement:
    """A transfer and what it follows from.

    Args:
        rate, seconds: of this leg (nano/s): rate x seconds is its amount; None when it was not metered.
        mended_by: the transfers that took a part of it back.
        deposit_id, dispute_id: the payment it belongs to, or the dispute about one.
    """

    transfer: Transfer
    rate: int | None
    seconds: int | None
    mended_by: tuple[int, ...]
    deposit_id: uuid.UUID | None
    dispute_id: uuid.UUID | None


def explain_transfer(*, actor: Actor, transfer_id: int) -> Movement:
    """Return one movement of the actor's own wallets. Raises NotFound `movement_unknown`."""
    actor.require("wallet:read")
    wallet = AccountKind.WALLET.value
    mine = Q(src__kind=wallet, src__owner_id=actor.user_id) | Q(
        dst__kind=wallet, dst__owner_id=actor.user_id
    )
    found = Transfer.objects.filter(mine, pk=transfer_id).select_related(
        "src", "dst", "meter", "reverses__meter"
    )
    transfer = found.first()
    if transfer is None:
        raise NotFound("movement_unknown", "There is no such movement in your wallets.")
    rate, seconds = _arithmetic(transfer)
    deposit_id, dispute_id = _payment(transfer)
    return Movement(transfer, rate, seconds, _mended_by(transfer), deposit_id, dispute_id)


def _arithmetic(transfer: Transfer) -> tuple[int | None, int | None]:
    meter = transfer.meter
    if meter is None or transfer.t0 is None or transfer.t1 is None:
        return None, None
    leg = meter.payee_rate if transfer.kind.startswith("share") else meter.rate - meter.payee_rate
    return leg, transfer.t1 - transfer.t0


def _mended_by(transfer: Transfer) -> tuple[int, ...]:
    backs = Transfer.objects.filter(reverses=transfer.pk)
    return tuple(backs.order_by("pk").values_list("pk", flat=True))


def _payment(transfer: Transfer) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Return the deposit that a movement belongs to, and the dispute about it, if any."""
    paid_in = (transfer.idem or "").partition("deposit:")[2]
    if paid_in:
        return _known_deposit(paid_in), None
    dispute = Dispute.objects.filter(pk=transfer.group_id).first()
    if dispute is not None:
        return dispute.deposit_id, dispute.pk
    back = DepositReturn.objects.filter(pk=transfer.group_id).first()
    if back is not None:
        return back.deposit_id, None
    return _known_deposit(str(transfer.group_id)), None


def _known_deposit(given: str) -> uuid.UUID | None:
    try:
        deposit_id = uuid.UUID(given)
    except ValueError:
        return None
    return deposit_id if Deposit.objects.filter(pk=deposit_id).exists() else None
