"""What is in a wallet: money that comes in, and money that is set aside. Amounts in nano-units."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, metering
from billing.events import WalletChanged
from billing.models import Account, AccountKind, Hold, Transfer
from billing.services import amounts
from core import clock, money, outbox
from core.errors import Conflict, FundsInsufficient, Invalid
from core.ids import new_id

MAX_DEPOSIT = amounts.MOST


@dataclass(frozen=True)
class Balance:
    """A wallet now: total = available + locked."""

    total: int
    available: int
    locked: int
    burn: int
    runs_out: int | None
    currency: str
    frozen: bool


def wallet_of(owner_id: uuid.UUID, currency: str | None = None) -> Account:
    """Return a person's wallet, locked until the transaction ends."""
    account = ledger.account_of(AccountKind.WALLET, owner_id, currency or settings.CURRENCY)
    return ledger.lock_wallet(account.pk)


def announce(owner_id: uuid.UUID | None) -> None:
    """Say that a wallet has changed."""
    outbox.publish(WalletChanged(owner_id=str(owner_id)))


@transaction.atomic
def deposit(
    *, actor: Actor, owner_id: uuid.UUID, amount: int, idem: str, currency: str | None = None
) -> Transfer:
    """Pay money into a wallet, once for each `idem`.

    Raises Invalid `amount_range`, Conflict `idempotency_key_reused` (same key, other amount).
    """
    if not 0 < amount <= MAX_DEPOSIT:
        raise Invalid("amount_range", "A deposit lies between 0 and one million.")
    wallet = wallet_of(owner_id, currency)
    done = Transfer.objects.filter(idem=idem).first()
    if done is not None:
        if (done.dst_id, done.amount) != (wallet.pk, amount):
            raise Conflict("idempotency_key_reused", "This key was used for another deposit.")
        return done
    gateway = ledger.account_of(AccountKind.GATEWAY, None, wallet.currency)
    # bulk_create: the trigger has to see a statement, and nothing may go round it.
    [transfer] = Transfer.objects.bulk_create(
        [
            Transfer(
                group_id=new_id(),
                src=gateway,
                dst=wallet,
                amount=amount,
                kind="deposit",
                idem=idem,
                created_at=clock.now(),
            )
        ]
    )
    wallet.refresh_from_db(fields=["balance"])
    ledger.redraw(wallet)
    audit.record(
        actor=actor,
        verb="wallet.deposited",
        subject_type="user",
        subject_id=owner_id,
        data={"amount": amount, "currency": wallet.currency, "idem": idem},
    )
    announce(owner_id)
    return transfer


def balance_of(*, owner_id: uuid.UUID, currency: str | None = None) -> Balance:
    """Return a wallet as it is now, what is on the line included. Writes nothing."""
    wallet = find_wallet(owner_id, currency or settings.CURRENCY)
    point = metering.accrued_until(now=clock.epoch(), asof=wallet.asof, runs_out=wallet.runs_out)
    total = wallet.balance - metering.charge(rate=wallet.burn, start=wallet.asof, end=point)
    return Balance(
        total=total,
        available=total - wallet.held,
        locked=wallet.held,
        burn=wallet.burn,
        runs_out=wallet.runs_out,
        currency=wallet.currency,
        frozen=wallet.frozen,
    )


def ends_of(*, owner_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int | None]:
    """Return the second (epoch) at which each of these people's money ends, None: it does not; one query."""
    wallets = Account.objects.filter(
        kind=AccountKind.WALLET.value, owner_id__in=owner_ids, currency=settings.CURRENCY
    )
    found = {wallet.owner_id: wallet.runs_out for wallet in wallets}
    return {owner: found.get(owner) for owner in owner_ids}


def balances_of(*, owner_id: uuid.UUID) -> list[Balance]:
    """Return a person's wallets, one a currency, the one that rents first."""
    return [balance_of(owner_id=owner_id, currency=each) for each in amounts.currencies()]


def find_wallet(owner_id: uuid.UUID, currency: str) -> Account:
    """Return a wallet to look at, not locked; an empty one that is not stored when there is none yet."""
    kind = AccountKind.WALLET.value
    found = Account.objects.filter(kind=kind, owner_id=owner_id, currency=currency).first()
    return found or Account(kind=kind, owner_id=owner_id, currency=currency, asof=clock.epoch())


def used_up_at(*, owner_id: uuid.UUID) -> int | None:
    """Return the second (epoch) at which a wallet's free money ended, None while there is some.

    Locks the wallet, so that the answer holds until the caller's transaction ends.
    """
    wallet = wallet_of(owner_id)
    ended = wallet.runs_out is not None and wallet.runs_out <= clock.epoch()
    return wallet.runs_out if ended else None


def _require_thawed(wallet: Account) -> None:
    if wallet.frozen:
        raise Conflict(
            "wallet_frozen",
            "A payment is disputed or owed, so nothing new can start. Pay in what is owed first.",
        )


@transaction.atomic
def place_hold(
    *, actor: Actor, owner_id: uuid.UUID, amount: int, reason: str, subject_id: uuid.UUID
) -> Hold:
    """Set money aside. Raises FundsInsufficient `funds_insufficient` with what is missing.

    Raises Conflict `wallet_frozen` while a payment is disputed or owed.
    """
    if amount < 0:
        raise Invalid("amount_range", "A hold cannot be negative.")
    wallet = wallet_of(owner_id)
    _require_thawed(wallet)
    available = ledger.free(wallet)
    if amount > available:
        missing = money.decimal_string(amount - available)
        raise FundsInsufficient(
            "funds_insufficient",
            f"Your balance is {missing} {wallet.currency} short for this. Add money and try again.",
            missing=missing,
            needed=money.decimal_string(amount),
            available=money.decimal_string(available),
            currency=wallet.currency,
        )
    wallet.held += amount
    ledger.redraw(wallet)
    hold = Hold.objects.create(
        account=wallet,
        amount=amount,
        reason=reason,
        subject_id=subject_id,
        created_at=clock.now(),
    )
    audit.record(
        actor=actor,
        verb="hold.placed",
        subject_type="hold",
        subject_id=hold.pk,
        data={"amount": amount, "reason": reason, "for": str(subject_id)},
    )
    announce(owner_id)
    return hold


@transaction.atomic
def release_hold(*, actor: Actor, hold_id: uuid.UUID) -> None:
    """Make held money free again; harmless when it is already."""
    hold = Hold.objects.select_related("account").get(pk=hold_id)
    wallet = ledger.lock_wallet(hold.account_id)
    release_locked(actor, wallet, hold_id)


def release_locked(actor: Actor, wallet: Account, hold_id: uuid.UUID) -> None:
    """Release a hold of a locked wallet."""
    hold = Hold.objects.get(pk=hold_id)
    if not Hold.objects.filter(pk=hold_id, released_at=None).update(released_at=clock.now()):
        return
    wallet.held -= hold.amount
    ledger.redraw(wallet)
    audit.record(
        actor=actor,
        verb="hold.released",
        subject_type="hold",
        subject_id=hold_id,
        data={"amount": hold.amount},
    )
    announce(wallet.owner_id)
