"""What burns a wallet: meters, their posting, and the wallets that have run out. Rates in nano/s."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, queries
from billing.events import WalletExhausted
from billing.models import Account, AccountKind, AccountQuerySet, Meter
from billing.services.fees import fee_at
from billing.services.wallets import announce, release_locked, wallet_of
from core import clock, money, outbox


@transaction.atomic
def open_meter(
    *,
    actor: Actor,
    kind: str,
    owner_id: uuid.UUID,
    payee_id: uuid.UUID,
    rate: int,
    subject_id: uuid.UUID,
    fee_bps: int | None = None,
    place_id: uuid.UUID | None = None,
    at: int | None = None,
    release_hold_id: uuid.UUID | None = None,
) -> Meter:
    """Start to bill `rate` from `at` (now); the hold is released in the same transaction.

    The fee is that of the schedule at `at` (`fee_bps`: another), and stays that of this meter for ever.
    Seconds from `at` on that the wallet has posted already for its other meters are posted at once.
    """
    payee = ledger.account_of(AccountKind.HOST, payee_id, settings.CURRENCY)
    wallet = wallet_of(owner_id)
    now = clock.epoch()
    at = now if at is None else min(at, now)
    ledger.settle(wallet, until=at)
    if release_hold_id is not None:
        release_locked(actor, wallet, release_hold_id)
    payee_rate, _fee = money.split_fee(rate, fee_at(at) if fee_bps is None else fee_bps)
    meter = Meter(
        kind=kind,
        subject_id=subject_id,
        place_id=place_id,
        wallet=wallet,
        payee=payee,
        rate=rate,
        payee_rate=payee_rate,
    )
    ledger.start_meter(wallet, meter, at=at)
    _record_opened(actor, meter)
    announce(owner_id)
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
    # No further than this change of the line: what is not posted need not be paid back.
    ledger.settle(wallet, until=end, ends={meter_id: end})
    meter.refresh_from_db()
    _record_closed(actor, meter)
    announce(wallet.owner_id)
    return meter


@transaction.atomic
def take_back(*, actor: Actor, subject_id: uuid.UUID, since: int, until: int | None = None) -> int:
    """Pay back what ended meters of a subject have billed from `since` (epoch seconds) on; return how many.

    For an outage that is learned of after its meters had ended. Meters that began at `until`, when the
    outage was over, are none of its business. Repeating it changes nothing.
    """
    late = Meter.objects.filter(subject_id=subject_id, ended__gt=since, started__lt=F("ended"))
    if until is not None:
        late = late.filter(started__lt=until)
    done = 0
    for meter_id, wallet_id in list(late.order_by("pk").values_list("pk", "wallet_id")):
        wallet = ledger.lock_wallet(wallet_id)
        meter = Meter.objects.select_related("wallet", "payee").get(pk=meter_id)
        if meter.ended is None or max(meter.started, since) >= meter.ended:
            continue
        ledger.shorten(wallet, meter, end=max(meter.started, since))
        _record_closed(actor, meter)
        announce(wallet.owner_id)
        done += 1
    return done


def _record_opened(actor: Actor, meter: Meter) -> None:
    audit.record(
        actor=actor,
        verb="meter.opened",
        subject_type="meter",
        subject_id=meter.pk,
        data={
            "kind": meter.kind,
            "rate": meter.rate,
            "payee_rate": meter.payee_rate,
            "for": str(meter.subject_id),
            "at": meter.started,
        },
    )


def _record_closed(actor: Actor, meter: Meter) -> None:
    audit.record(
        actor=actor,
        verb="meter.closed",
        subject_type="meter",
        subject_id=meter.pk,
        data={"kind": meter.kind, "for": str(meter.subject_id), "at": meter.ended},
    )


def roll_up(*, chunk: int = 500) -> int:
    """Post what burning wallets have used up to the settle horizon; return how many were posted.

    Chunk by chunk, each a transaction; wallets that somebody else holds are left to them. Any number of
    workers may do it at once: a wallet is posted by the one that locks it.
    """
    until = clock.epoch() - settings.DC.settle_horizon_seconds
    due = Account.objects.filter(burn__gt=0, asof__lt=until).filter(asof__lt=F("runs_out"))
    done = 0
    while posted := _roll_up_some(due.order_by("pk"), chunk, until):
        done += posted
    return done


@transaction.atomic
def _roll_up_some(due: AccountQuerySet, chunk: int, until: int) -> int:
    wallets = list(due.lock_free().values_list("pk", flat=True)[:chunk])
    if wallets:
        ledger.post_line(wallets, until=until)
    return len(wallets)


def sweep_exhausted(*, limit: int = 100) -> int:
    """Say which wallets have run out; whoever opened their meters closes them at that second."""
    # Every second, and almost always in vain: one look into a small index, whatever else is there.
    return _sweep(limit) if queries.somebody_is_exhausted(now=clock.epoch()) else 0


@transaction.atomic
def _sweep(limit: int) -> int:
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
