"""What may be done with money. Amounts in nano-units, rates in nano/s, instants in epoch seconds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, metering, queries
from billing.events import WalletChanged, WalletExhausted
from billing.models import Account, AccountKind, Hold, Meter, Transfer
from core import clock, money, outbox
from core.errors import Conflict, FundsInsufficient, Invalid
from core.ids import new_id

MAX_DEPOSIT = 1_000_000 * money.NANO


@dataclass(frozen=True)
class Balance:
    """A wallet now: total = available + locked."""

    total: int
    available: int
    locked: int
    burn: int
    runs_out: int | None
    currency: str


@dataclass(frozen=True)
class BillLine:
    """One meter: amount = rate x seconds; `ended` is None while it runs."""

    kind: str
    rate: int
    seconds: int
    started: int
    ended: int | None
    amount: int
    host_share: int
    subject_id: uuid.UUID


@dataclass(frozen=True)
class Bill:
    """Everything one subject (a rental) has cost."""

    lines: list[BillLine]
    total: int
    currency: str


@dataclass(frozen=True)
class Earnings:
    """What a host has earned: posted and still on the line, by subject."""

    total: int
    lines: list[BillLine]
    currency: str


def _wallet(owner_id: uuid.UUID, currency: str | None = None) -> Account:
    account = ledger.account_of(AccountKind.WALLET, owner_id, currency or settings.CURRENCY)
    return ledger.lock_wallet(account.pk)


def _announce(owner_id: uuid.UUID | None) -> None:
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
    wallet = _wallet(owner_id, currency)
    done = Transfer.objects.filter(idem=idem).first()
    if done is not None:
        if (done.dst_id, done.amount) != (wallet.pk, amount):
            raise Conflict("idempotency_key_reused", "This key was used for another deposit.")
        return done
    ledger.settle(wallet, until=clock.epoch())
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
    _announce(owner_id)
    return transfer


def balance_of(*, owner_id: uuid.UUID, currency: str | None = None) -> Balance:
    """Return a wallet as it is now, what is on the line included. Writes nothing to the ledger."""
    wallet = ledger.account_of(AccountKind.WALLET, owner_id, currency or settings.CURRENCY)
    point = metering.accrued_until(now=clock.epoch(), asof=wallet.asof, runs_out=wallet.runs_out)
    total = wallet.balance - metering.charge(rate=wallet.burn, start=wallet.asof, end=point)
    return Balance(
        total=total,
        available=total - wallet.held,
        locked=wallet.held,
        burn=wallet.burn,
        runs_out=wallet.runs_out,
        currency=wallet.currency,
    )


def used_up_at(*, owner_id: uuid.UUID) -> int | None:
    """Return the second (epoch) at which a wallet's free money ended, None while there is some.

    Locks the wallet, so that the answer holds until the caller's transaction ends.
    """
    wallet = _wallet(owner_id)
    ended = wallet.runs_out is not None and wallet.runs_out <= clock.epoch()
    return wallet.runs_out if ended else None


@transaction.atomic
def place_hold(
    *, actor: Actor, owner_id: uuid.UUID, amount: int, reason: str, subject_id: uuid.UUID
) -> Hold:
    """Set money aside. Raises FundsInsufficient `funds_insufficient` with what is missing."""
    if amount < 0:
        raise Invalid("amount_range", "A hold cannot be negative.")
    wallet = _wallet(owner_id)
    ledger.settle(wallet, until=clock.epoch())
    available = wallet.balance - wallet.held
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
    _announce(owner_id)
    return hold


@transaction.atomic
def release_hold(*, actor: Actor, hold_id: uuid.UUID) -> None:
    """Make held money free again; harmless when it is already."""
    hold = Hold.objects.select_related("account").get(pk=hold_id)
    wallet = ledger.lock_wallet(hold.account_id)
    ledger.settle(wallet, until=clock.epoch())
    _release(actor, wallet, hold_id)


def _release(actor: Actor, wallet: Account, hold_id: uuid.UUID) -> None:
    """Release a hold of a locked, settled wallet."""
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
    _announce(wallet.owner_id)


@transaction.atomic
def open_meter(
    *,
    actor: Actor,
    kind: str,
    owner_id: uuid.UUID,
    payee_id: uuid.UUID,
    rate: int,
    fee_bps: int,
    subject_id: uuid.UUID,
    at: int | None = None,
    release_hold_id: uuid.UUID | None = None,
) -> Meter:
    """Start to bill `rate` from `at` (now); the hold is released in the same transaction.

    A start before what the wallet has posted becomes that second: nobody pays for the past twice.
    """
    payee = ledger.account_of(AccountKind.HOST, payee_id, settings.CURRENCY)
    wallet = _wallet(owner_id)
    now = clock.epoch()
    ledger.settle(wallet, until=now if at is None else min(at, now))
    if release_hold_id is not None:
        _release(actor, wallet, release_hold_id)
    payee_rate, _fee = money.split_fee(rate, fee_bps)
    meter = Meter.objects.create(
        kind=kind,
        subject_id=subject_id,
        wallet=wallet,
        payee=payee,
        rate=rate,
        payee_rate=payee_rate,
        started=wallet.asof,
        settled=wallet.asof,
    )
    wallet.burn += rate
    ledger.redraw(wallet)
    audit.record(
        actor=actor,
        verb="meter.opened",
        subject_type="meter",
        subject_id=meter.pk,
        data={"kind": kind, "rate": rate, "for": str(subject_id), "at": meter.started},
    )
    _announce(owner_id)
    return meter


@transaction.atomic
def close_meter(*, actor: Actor, meter_id: uuid.UUID, at: int | None = None) -> Meter:
    """Bill a meter up to `at` (now) and no further; harmless when it has ended.

    An `at` before what is posted is reached by paying the difference back. Now is never before what is
    posted, even when the clock has been set back: what was used stays paid.
    """
    wallet = ledger.lock_wallet(Meter.objects.values_list("wallet_id", flat=True).get(pk=meter_id))
    meter = Meter.objects.get(pk=meter_id)
    if meter.ended is not None:
        return meter
    now = clock.epoch()
    end = max(now, wallet.asof) if at is None else min(at, max(now, wallet.asof))
    ledger.settle(wallet, until=now, ends={meter_id: end})
    meter.refresh_from_db()
    audit.record(
        actor=actor,
        verb="meter.closed",
        subject_type="meter",
        subject_id=meter.pk,
        data={"kind": meter.kind, "for": str(meter.subject_id), "at": meter.ended},
    )
    _announce(wallet.owner_id)
    return meter


def roll_up(*, limit: int = 500) -> int:
    """Post what burning wallets have used up to the settle horizon; return how many were posted."""
    point = clock.epoch() - settings.DC.settle_horizon_seconds
    ids = Account.objects.filter(burn__gt=0, asof__lt=point).values_list("pk", flat=True)
    done = 0
    for account_id in list(ids[:limit]):
        with transaction.atomic():
            wallet = ledger.lock_wallet(account_id)
            ledger.settle(wallet, until=clock.epoch() - settings.DC.settle_horizon_seconds)
        done += 1
    return done


@transaction.atomic
def sweep_exhausted(*, limit: int = 100) -> int:
    """Say which wallets have run out; whoever opened their meters closes them at that second."""
    exhausted = Account.objects.filter(runs_out__lte=clock.epoch()).order_by("runs_out")
    wallets = list(exhausted.lock_free()[:limit])
    for wallet in wallets:
        subjects = Meter.objects.filter(wallet=wallet, ended=None).values_list(
            "subject_id", flat=True
        )
        assert wallet.runs_out is not None
        outbox.publish(
            WalletExhausted(
                owner_id=str(wallet.owner_id),
                subject_ids=sorted({str(subject) for subject in subjects}),
                at=wallet.runs_out,
            )
        )
    return len(wallets)


def _line(meter: Meter, now: int) -> BillLine:
    end = meter.ended
    if end is None:
        wallet = meter.wallet
        end = metering.accrued_until(now=now, asof=meter.settled, runs_out=wallet.runs_out)
    return BillLine(
        kind=meter.kind,
        rate=meter.rate,
        seconds=end - meter.started,
        started=meter.started,
        ended=meter.ended,
        amount=metering.charge(rate=meter.rate, start=meter.started, end=end),
        host_share=metering.charge(rate=meter.payee_rate, start=meter.started, end=end),
        subject_id=meter.subject_id,
    )


def bill_of(*, subject_id: uuid.UUID) -> Bill:
    """Return every line of a subject's bill up to now; each is rate x seconds, exactly."""
    now = clock.epoch()
    meters = Meter.objects.filter(subject_id=subject_id).select_related("wallet")
    lines = [_line(meter, now) for meter in meters.order_by("started", "kind")]
    return Bill(lines, sum(line.amount for line in lines), settings.CURRENCY)


def earnings_of(*, owner_id: uuid.UUID) -> Earnings:
    """Return what a host has earned up to now, line by line."""
    now = clock.epoch()
    meters = Meter.objects.filter(payee__owner_id=owner_id).select_related("wallet")
    lines = [_line(meter, now) for meter in meters.order_by("-started", "kind")]
    return Earnings(sum(line.host_share for line in lines), lines, settings.CURRENCY)


def statement_of(*, owner_id: uuid.UUID, limit: int = 200) -> list[Transfer]:
    """Return the latest transfers in and out of a person's wallet, newest first."""
    wallet = ledger.account_of(AccountKind.WALLET, owner_id, settings.CURRENCY)
    mine = Transfer.objects.filter(src=wallet) | Transfer.objects.filter(dst=wallet)
    return list(mine.select_related("src", "dst", "meter").order_by("-id")[:limit])


def verify_ledger() -> list[str]:
    """Recompute every balance, hold, line and meter from the transfers; return what does not add up."""
    return queries.problems()
