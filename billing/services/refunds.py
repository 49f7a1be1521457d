"""What renters get back of what they paid for use: by staff with a reason, by rules with evidence. Nano-units.

Each leg names the posting that it gives back, and never more of it than still stands: a posting that was
reversed, refunded or credited before has less left. What a host no longer has becomes the host's debt.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, queries
from billing.events import RefundPosted
from billing.models import Account, AccountKind, Bearer, Meter, Refund, RefundKind, Transfer
from billing.queries import Standing
from billing.services import amounts
from billing.services.wallets import announce, wallet_of
from core import clock, idempotency, money, outbox
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id

REASON_LENGTH = 400


def parse_refund(given: object) -> int:
    """Return how much should be given back (nano-units). Raises Invalid as `parse_amount` does."""
    return amounts.parse_amount(given)


@transaction.atomic
def refund_charge(
    *,
    actor: Actor,
    subject_id: uuid.UUID,
    amount: int,
    reason: str,
    idempotency_key: str,
    borne_by: Bearer = Bearer.HOST,
    transfer_id: int | None = None,
) -> Refund:
    """Give back `amount` of what a subject (a rental) has paid, the latest first; the same key, once.

    Args:
        borne_by: `host`: host and platform give back their parts; `platform`: it pays the host's part, too.
        transfer_id: only of this posting.

    Raises Invalid `amount_range`, `reason_missing`; NotFound `charge_unknown`; Conflict `refund_own`,
    `refund_exceeds_paid`.
    """
    actor.require("staff")
    refund_id, reason = new_id(), parse_reason(reason)
    if not 0 < amount <= amounts.MOST:
        raise Invalid("amount_range", "A refund lies between nothing and one million.")
    meter = Meter.objects.filter(subject_id=subject_id).select_related("wallet").first()
    if meter is None or meter.wallet.owner_id is None:
        raise NotFound("charge_unknown", "Nothing was ever charged for this.")
    _require_anothers(actor, meter.wallet.owner_id, "refund_own")
    body = f"refund {subject_id} {transfer_id} {amount} {borne_by}"
    first = idempotency.claim(
        owner_id=claimant(actor), key=idempotency_key, body=body, subject_id=refund_id
    )
    if first != refund_id:
        return Refund.objects.get(pk=first)
    wallet = wallet_of(meter.wallet.owner_id, meter.wallet.currency)
    left = queries.standing(subject_id=subject_id, only=transfer_id)
    paid = sum(row.amount for row in left)
    if amount > paid:
        raise Conflict(
            "refund_exceeds_paid",
            f"Only {money.decimal_string(paid)} of what was paid is left to give back.",
            left=money.decimal_string(paid),
        )
    made = _make(
        wallet, RefundKind.REFUND, borne_by, amount,
        id=refund_id, subject_id=subject_id, reason=reason,
    )  # fmt: skip
    _post(made, wallet, _split(left, amount))
    _tell(actor, made)
    return made


@transaction.atomic
def credit_fault(
    *,
    actor: Actor,
    subject_id: uuid.UUID,
    incident: str,
    since: int,
    until: int,
    kinds: Sequence[str],
    reason: str,
    evidence: Mapping[str, Any],
    borne_by: Bearer = Bearer.HOST,
    most: int | None = None,
) -> Refund | None:
    """Give back what still stands of what a subject paid in [since, until), epoch seconds; at most `most`; once.

    None when that is nothing, when the incident is credited already, or when both sides are one person.
    """
    meter = Meter.objects.filter(subject_id=subject_id).select_related("wallet", "payee").first()
    if meter is None or meter.wallet.owner_id is None:
        return None
    if meter.wallet.owner_id == meter.payee.owner_id:
        return None
    wallet = wallet_of(meter.wallet.owner_id, meter.wallet.currency)
    if Refund.objects.filter(kind="credit", subject_id=subject_id, incident=incident).exists():
        return None
    if wallet.asof < until:
        # Only what is posted can be given back.
        ledger.settle(wallet, until=min(until, clock.epoch()))
    left = queries.standing(subject_id=subject_id, kinds=tuple(kinds), since=since, until=until)
    stands = sum(row.amount for row in left)
    amount = stands if most is None else min(most, stands)
    if amount <= 0:
        return None
    made = _make(
        wallet, RefundKind.CREDIT, borne_by, amount,
        subject_id=subject_id, incident=incident, reason=reason[:REASON_LENGTH],
        evidence={**evidence, "incident": incident, "from": since, "to": until,
                  "transfers": [row.transfer_id for row in left]},
    )  # fmt: skip
    _post(made, wallet, _split(left, amount))
    _tell(actor, made)
    return made


@transaction.atomic
def adjust_wallet(
    *,
    actor: Actor,
    owner_id: uuid.UUID,
    amount: int,
    reason: str,
    idempotency_key: str,
    currency: str | None = None,
) -> Refund:
    """Give a person money of the platform's, with a reason; the same key, once. Raises as `refund_charge`."""
    actor.require("staff")
    refund_id, reason = new_id(), parse_reason(reason)
    if not 0 < amount <= amounts.MOST:
        raise Invalid("amount_range", "An adjustment lies between nothing and one million.")
    _require_anothers(actor, owner_id, "adjustment_own")
    first = idempotency.claim(
        owner_id=claimant(actor),
        key=idempotency_key,
        body=f"adjust {owner_id} {amount} {currency}",
        subject_id=refund_id,
    )
    if first != refund_id:
        return Refund.objects.get(pk=first)
    wallet = wallet_of(owner_id, currency or settings.CURRENCY)
    made = _make(
        wallet, RefundKind.ADJUSTMENT, Bearer.PLATFORM, amount, id=refund_id, reason=reason
    )
    platform = ledger.account_of(AccountKind.PLATFORM, None, wallet.currency)
    ledger.post([_leg(made, platform, wallet, amount, "adjustment")])
    _redraw(wallet)
    _tell(actor, made)
    return made


def refunds_of(*, subject_id: uuid.UUID) -> list[Refund]:
    """Return what was given back for a subject, oldest first."""
    return list(Refund.objects.filter(subject_id=subject_id).order_by("created_at"))


def refunds_to(*, owner_id: uuid.UUID) -> list[Refund]:
    """Return what a person was given back, newest first."""
    return list(Refund.objects.filter(owner_id=owner_id).order_by("-created_at")[:100])


def _require_anothers(actor: Actor, owner_id: uuid.UUID, code: str) -> None:
    """Staff give nothing to themselves."""
    if actor.kind != "system" and owner_id == actor.user_id:
        raise Conflict(code, "Somebody else has to put money into your own wallet.")


def claimant(actor: Actor) -> uuid.UUID:
    """Return whose idempotency keys count for what staff or the platform decide."""
    return uuid.UUID(int=0) if actor.kind == "system" else actor.user_id


def parse_reason(given: str) -> str:
    """Return why staff do something. Raises Invalid `reason_missing`."""
    text = " ".join(given.split())
    if not 1 <= len(text) <= REASON_LENGTH:
        raise Invalid("reason_missing", f"Say why in 1 to {REASON_LENGTH} characters: it is kept.")
    return text


def _make(
    wallet: Account, kind: RefundKind, borne_by: Bearer, amount: int, **fields: Any
) -> Refund:
    assert wallet.owner_id is not None
    return Refund.objects.create(
        kind=kind.value,
        borne_by=borne_by.value,
        owner_id=wallet.owner_id,
        amount=amount,
        currency=wallet.currency,
        created_at=clock.now(),
        **fields,
    )


def _split(left: Sequence[Standing], amount: int) -> list[tuple[Standing, int]]:
    """Take `amount` from postings, the latest interval first; of the last interval each leg its part."""
    parts: list[tuple[Standing, int]] = []
    for _, group in groupby(left, key=lambda row: (row.meter_id, row.t0)):
        legs = list(group)
        stands = sum(leg.amount for leg in legs)
        takes = rest = min(amount, stands)
        amount -= takes
        for leg in legs[:-1]:
            part = takes * leg.amount // stands
            parts.append((leg, part))
            rest -= part
        parts.append((legs[-1], rest))
        if not amount:
            break
    return [(leg, part) for leg, part in parts if part]


def _post(made: Refund, wallet: Account, parts: list[tuple[Standing, int]]) -> None:
    accounts = Account.objects.in_bulk([leg.dst_id for leg, _ in parts])
    platform = ledger.account_of(AccountKind.PLATFORM, None, wallet.currency)
    to_pay = {pk: acc if made.borne_by == Bearer.HOST else platform for pk, acc in accounts.items()}
    ledger.post(
        [
            _leg(made, to_pay[leg.dst_id], wallet, part, f"{made.kind}_{leg.kind}", leg.transfer_id)
            for leg, part in parts
        ]
    )
    _redraw(wallet)


def _leg(
    made: Refund, src: Account, dst: Account, amount: int, kind: str, reverses: int | None = None
) -> Transfer:
    return Transfer(
        group_id=made.pk, src=src, dst=dst, amount=amount, kind=kind,
        reverses_id=reverses, created_at=made.created_at,
    )  # fmt: skip


def _redraw(wallet: Account) -> None:
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)
    announce(wallet.owner_id)


def _tell(actor: Actor, made: Refund) -> None:
    audit.record(
        actor=actor,
        verb=f"refund.{made.kind}",
        subject_type="refund",
        subject_id=made.pk,
        data={
            "owner": str(made.owner_id),
            "for": str(made.subject_id) if made.subject_id else None,
            "amount": made.amount,
            "borne_by": made.borne_by,
            "reason": made.reason,
            "evidence": made.evidence,
        },
    )
    outbox.publish(
        RefundPosted(refund_id=str(made.pk), owner_id=str(made.owner_id), kind=made.kind)
    )
