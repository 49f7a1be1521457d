"""Money that goes back to a card, by a refund or a dispute, and the debts that this may leave. Nano-units.

Each refund and each dispute asks for a part of its deposit and takes what no other has of it; what one of them gives
up goes to the next that still lacks some. A dispute that is lost takes all that it asked for, also beyond the
deposit: then both the refund and the bank's decision have taken money from us, and the payer has it twice. It leaves
the wallet as far as the wallet's free money goes; the rest becomes a receivable: a wallet is never below zero. While
something is disputed or owed the wallet is frozen, and what is free pays the debt first.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, queries
from billing.events import DisputeChanged, WalletFroze
from billing.machine import DepositState, DisputeState, ReturnState
from billing.models import Account, AccountKind, Deposit, DepositReturn, Dispute, Transfer
from billing.providers.base import Kind, ProviderEvent
from billing.services.declines import WENT_BACK, stop_filling
from billing.services.moving import move_deposit
from billing.services.wallets import announce, wallet_of
from core import clock, outbox
from core.ids import new_id

OPEN, WON, LOST = DisputeState.OPEN, DisputeState.WON, DisputeState.LOST


def follow_dispute(found: Deposit, event: ProviderEvent) -> str:
    """Take of a paid, locked deposit what the payer's bank has, or give back what it left us."""
    if not _dispute(found, event):
        return "nothing_new"
    settle(found)
    return event.kind.value


def settle(found: Deposit) -> None:
    """Bring a locked deposit, and its owner's wallet and debts, to what refunds and disputes say now."""
    _take_more(found)
    restate(found)
    settle_debt(found.owner_id, found.currency)


def _take_more(found: Deposit) -> None:
    """Take for each refund and open dispute, oldest first, what it asks for and nothing else has taken."""
    disputes = Dispute.objects.filter(deposit=found, state=OPEN.value)
    for dispute in disputes.order_by("opened_at", "pk"):
        _take_for(found, dispute, min(dispute.asked - dispute.amount, left_of(found)))
    sent = DepositReturn.objects.filter(deposit=found, state=ReturnState.SENT.value)
    for made in sent.order_by("created_at", "pk"):
        # What a bank took for good is beside it: whichever of the two is told first, both have gone.
        left = found.amount - found.refunded - _disputed(found, OPEN)
        if (more := min(made.asked - made.amount, left)) > 0:
            take(found, made.pk, more, "returned")
            made.amount += more
            made.save(update_fields=["amount"])
            found.refunded += more
            found.save(update_fields=["refunded"])


def _take_for(found: Deposit, dispute: Dispute, more: int) -> None:
    if more > 0:
        take(found, dispute.pk, more, "dispute")
        dispute.amount += more
        dispute.save(update_fields=["amount"])


def _dispute(found: Deposit, event: ProviderEvent) -> bool:
    """Follow one dispute, whichever of its messages comes first."""
    known = Dispute.objects.filter(deposit=found, ref=event.ref).first()
    if event.kind is Kind.DISPUTED:
        if known is None:
            _open(found, event)
        return known is None
    # An end without a beginning: one that was won has taken nothing in between.
    dispute = known or _open(found, event, takes=event.kind is Kind.DISPUTE_LOST)
    state = DisputeState(dispute.state)
    if event.kind is Kind.DISPUTE_LOST and state is OPEN:
        _take_for(found, dispute, dispute.asked - dispute.amount)
        _close(found, dispute, LOST)
    elif event.kind is Kind.DISPUTE_WON and state is not WON:
        give_back(found, dispute.pk, taken="dispute", given="dispute_won")
        _close(found, dispute, WON)
    else:
        return False
    return True


def _open(found: Deposit, event: ProviderEvent, *, takes: bool = True) -> Dispute:
    dispute = Dispute.objects.create(
        deposit=found,
        ref=event.ref,
        asked=max(0, min(event.amount, found.amount)),
        amount=0,
        state=OPEN.value,
        opened_at=clock.now(),
    )
    if takes:
        stop_filling(Actor.system(), found.owner_id, WENT_BACK)
        _take_more(found)
        dispute.refresh_from_db(fields=["amount"])
    _tell(found, dispute)
    restate(found)
    return dispute


def _close(found: Deposit, dispute: Dispute, to: DisputeState) -> None:
    if not Dispute.objects.move(dispute.pk, DisputeState(dispute.state), to, closed_at=clock.now()):
        raise RuntimeError(f"{dispute} moved, though its deposit is locked")
    dispute.refresh_from_db()
    _tell(found, dispute)


def _tell(found: Deposit, dispute: Dispute) -> None:
    audit.record(
        actor=Actor.system(),
        verb=f"dispute.{dispute.state}",
        subject_type="dispute",
        subject_id=dispute.pk,
        data={"deposit": str(found.pk), "amount": dispute.amount, "ref": dispute.ref},
    )
    outbox.publish(
        DisputeChanged(
            dispute_id=str(dispute.pk), owner_id=str(found.owner_id), state=dispute.state
        )
    )


def _disputed(found: Deposit, *states: DisputeState) -> int:
    """Return how much of a deposit disputes hold (`OPEN`) or have taken for good (`LOST`)."""
    held = Dispute.objects.filter(deposit=found, state__in=[state.value for state in states])
    return int(held.aggregate(total=Sum("amount"))["total"] or 0)


def left_of(found: Deposit) -> int:
    """Return how much of a paid deposit neither went back nor is disputed (nano-units)."""
    return max(0, found.amount - found.refunded - _disputed(found, OPEN, LOST))


def restate(found: Deposit) -> None:
    """Move a deposit to the state that its disputes and refunds say."""
    states = set(Dispute.objects.filter(deposit=found).values_list("state", flat=True))
    to = DepositState.SUCCEEDED
    if OPEN.value in states:
        to = DepositState.DISPUTED
    elif LOST.value in states:
        to = DepositState.LOST
    elif found.refunded == found.amount:
        to = DepositState.REFUNDED
    if to.value != found.state:
        move_deposit(Actor.system(), found, to)


def take(found: Deposit, group: uuid.UUID, amount: int, kind: str) -> None:
    """Take `amount` out of the wallet; what is not free there is owed."""
    wallet = wallet_of(found.owner_id, found.currency)
    free = min(amount, max(0, ledger.free(wallet)))
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    owed = ledger.account_of(AccountKind.RECEIVABLE, found.owner_id, found.currency)
    _post(group, kind, [(wallet, gateway, free), (owed, gateway, amount - free)])
    _redraw(wallet)


def give_back(found: Deposit, group: uuid.UUID, *, taken: str, given: str) -> None:
    """Reverse what a refund or a dispute took by transfers of the kind `taken`, leg by leg."""
    legs = Transfer.objects.filter(group_id=group, kind=taken).select_related("src", "dst")
    wallet = wallet_of(found.owner_id, found.currency)
    _post(group, given, [(leg.dst, leg.src, leg.amount) for leg in legs])
    _redraw(wallet)


def owed_by(*, owner_id: uuid.UUID, currency: str | None = None) -> int:
    """Return what a person owes (nano-units); below zero: what is theirs and not yet in the wallet."""
    owed = Account.objects.filter(
        kind=AccountKind.RECEIVABLE.value,
        owner_id=owner_id,
        currency=currency or settings.CURRENCY,
    ).first()
    if owed is None:
        return 0
    sums = Transfer.objects.filter(Q(src=owed) | Q(dst=owed)).aggregate(
        out=Sum("amount", filter=Q(src=owed)), back=Sum("amount", filter=Q(dst=owed))
    )
    return int(sums["out"] or 0) - int(sums["back"] or 0)


def settle_debt(owner_id: uuid.UUID, currency: str) -> None:
    """Pay a debt from what is free, hand over what was paid too much, and freeze or thaw the wallet."""
    wallet = wallet_of(owner_id, currency)
    owed, free = owed_by(owner_id=owner_id, currency=currency), max(0, ledger.free(wallet))
    if owed:
        receivable = ledger.account_of(AccountKind.RECEIVABLE, owner_id, currency)
        legs = {
            "debt_paid": (wallet, receivable, min(free, owed)),
            "debt_returned": (receivable, wallet, -owed),
        }
        for kind, leg in legs.items():
            _post(new_id(), kind, [leg])
    disputed = Dispute.objects.filter(
        deposit__owner_id=owner_id, deposit__currency=currency, state=OPEN.value
    )
    was, wallet.frozen = wallet.frozen, disputed.exists() or owed > free
    wallet.save(update_fields=["frozen"])
    if was != wallet.frozen:
        outbox.publish(
            WalletFroze(
                owner_id=str(owner_id),
                frozen=wallet.frozen,
                owed=max(0, owed - free),
                at=clock.now().timestamp(),
            )
        )
    _redraw(wallet)
    announce(owner_id)


def collect_debts(*, limit: int = 200) -> int:
    """Pay debts from what has become free since; return how many frozen wallets were looked at."""
    frozen = queries.frozen_wallets(limit=limit)
    for owner_id, currency in frozen:
        with transaction.atomic():
            settle_debt(owner_id, currency)
    return len(frozen)


def disputed_earnings(*, payee_id: uuid.UUID) -> int:
    """Return how much of a host's earnings was paid with money that banks ask back at the moment.

    A payout leaves this much alone (nano-units), and a frozen wallet's owner is paid nothing at all.
    """
    return queries.disputed_earnings(payee_id=payee_id, currency=settings.CURRENCY)


def _redraw(wallet: Account) -> None:
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)


def _post(group: uuid.UUID, kind: str, legs: list[tuple[Account, Account, int]]) -> None:
    now = clock.now()
    Transfer.objects.bulk_create(
        Transfer(group_id=group, src=src, dst=dst, amount=amount, kind=kind, created_at=now)
        for src, dst, amount in legs
        if amount > 0
    )
