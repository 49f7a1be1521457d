"""The price of a rental over its life: locked for a term, then raised only with its renter's consent.

Locks go rental, node, workload, wallet: nothing here touches money before it has told the machine to stop.
"""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, outbox
from rentals.events import PriceChanged, RaiseProposed
from rentals.machine import COMING_UP, PriceState, State
from rentals.models import PriceChange, Rental
from rentals.services.life import reason, stand_still
from rentals.services.meters import reprice, resize_reserve
from rentals.services.moving import announce, is_ending, lock_rental
from rentals.services.planned import planned_stop
from rentals.services.terms import (
    Rates,
    locked_until,
    notice,
    rates_asked,
    rates_of,
    rates_wanted,
)

_TERM = ("price_until", "price_by_end")


def pending_price(rental: Rental) -> PriceChange | None:
    """Return the other price that waits for an answer or for its day, if there is one."""
    return PriceChange.objects.filter(rental=rental, closed_at=None).first()


@transaction.atomic
def review_price(*, actor: Actor, rental_id: uuid.UUID) -> None:
    """Do what a rental's price calls for now; the clock calls it often, and once more does no harm.

    Before the lock ends, a higher price for the time after it is told. When it ends, that price holds from
    that second if it was accepted, and stops the rental if not; one that is not higher just holds.
    """
    review_locked(actor, lock_rental(rental_id))


def review_locked(actor: Actor, rental: Rental) -> None:
    """Do it to a locked rental."""
    change = pending_price(rental)
    if State(rental.state) is State.ENDED or is_ending(rental):
        if change is not None:
            close(actor, change, PriceState.LAPSED)
        return
    now = clock.now()
    if change is not None and not change.at_term and change.starts_at <= now:
        close(actor, change, PriceState.LAPSED)
        change = None
    if now < rental.price_until - notice():
        return
    if change is not None and not change.at_term and rates_asked(rental).exceed(rates_of(rental)):
        # The question of the next term replaces the one that the host has asked inside this one.
        close(actor, change, PriceState.LAPSED)
        change = None
    term = change if change is not None and change.at_term else None
    if now < rental.price_until:
        _tell_in_time(actor, rental, term)
    else:
        _turn(actor, rental, term)


def _tell_in_time(actor: Actor, rental: Rental, term: PriceChange | None) -> None:
    """Propose a higher price for the next term. What was proposed can fall afterwards, and never rise."""
    asked, current = rates_asked(rental), rates_of(rental)
    if term is None:
        if asked.exceed(current):
            propose(actor, rental, asked, _earliest(rental))
        return
    fallen = rates_wanted(term).lower_of(asked)
    if term.state == PriceState.ACCEPTED or fallen == rates_wanted(term):
        return
    close(actor, term, PriceState.LAPSED)
    if fallen.exceed(current):
        propose(actor, rental, fallen, term.starts_at)


def _earliest(rental: Rental) -> dt.datetime:
    """Return when a price that is told now can hold: at the lock's end, and never without the full notice."""
    told = (clock.now() + notice()).replace(microsecond=0)
    return max(rental.price_until, told)


def _turn(actor: Actor, rental: Rental, term: PriceChange | None) -> None:
    """The lock has ended: go on at a price that needs no consent or has it, else stand still."""
    ended = clock.to_epoch(rental.price_until)
    runs = State(rental.state) is State.RUNNING
    plan = planned_stop(rental, clock.epoch()) if runs else None
    if plan is not None and plan.at <= ended:
        return  # It stops before that for its renter's own reason; what becomes of its price can wait.
    asked, current = rates_asked(rental), rates_of(rental)
    if term is not None and term.state == PriceState.ACCEPTED:
        apply_price(actor, rental, rates_wanted(term).lower_of(asked), ended, term)
    elif not asked.exceed(current):
        at = ended if runs or term is None else clock.epoch()
        apply_price(actor, rental, asked, at, term)
    elif term is None:
        propose(actor, rental, asked, _earliest(rental))
    else:
        _stand_or_wait(actor, rental, term, ended)


def _stand_or_wait(actor: Actor, rental: Rental, term: PriceChange, ended: int) -> None:
    state = State(rental.state)
    if state is State.RUNNING or (state in COMING_UP and rental.running_since is not None):
        end = reason(
            "price_not_accepted",
            "Its price lock ended and the new price was not accepted. The disk is kept.",
        )
        stand_still(actor, rental, end, ended)
    elif rates_asked(rental) != rates_wanted(term) and state not in COMING_UP:
        # It has had its notice and stands still: what it can be started for is today's price.
        close(actor, term, PriceState.LAPSED)
        propose(actor, rental, rates_asked(rental), term.starts_at)


def propose(
    actor: Actor, rental: Rental, rates: Rates, starts_at: dt.datetime, *, at_term: bool = True
) -> PriceChange:
    """Ask the renter of a locked rental for consent to a price from `starts_at` on; the old one holds till then."""
    if at_term and starts_at > rental.price_until:
        rental.price_until = starts_at
        rental.save(update_fields=["price_until"])
    change = PriceChange.objects.create(
        rental=rental,
        at_term=at_term,
        state=PriceState.PROPOSED.value,
        old_compute_rate=rental.compute_rate,
        old_storage_rate=rental.storage_rate,
        compute_rate=rates.compute,
        storage_rate=rates.storage,
        starts_at=starts_at,
        created_at=clock.now(),
    )
    record(actor, rental, "rental.raise_proposed", change)
    outbox.publish(
        RaiseProposed(
            rental_id=str(rental.pk),
            renter_id=str(rental.renter_id),
            host_id=str(rental.node.owner_id),
            change_id=str(change.pk),
        )
    )
    announce(rental)
    return change


def close(actor: Actor, change: PriceChange, to: PriceState) -> None:
    """Let a pending price be of no account any more."""
    move_price(change, to, closed_at=clock.now())
    record(actor, change.rental, "rental.raise_lapsed", change)


def move_price(change: PriceChange, to: PriceState, **fields: object) -> None:
    """Move a price of a locked rental to another state."""
    frm = PriceState(change.state)
    if not PriceChange.objects.move(change.pk, frm, to, **fields):
        raise RuntimeError(f"{change} is under its rental's lock, yet it is no longer {frm}")
    change.refresh_from_db()


def apply_price(
    actor: Actor, rental: Rental, rates: Rates, at: int, change: PriceChange | None
) -> None:
    """Let a price hold for a locked rental from `at` (epoch seconds) on; at a term's end, for another term."""
    old = rates_of(rental)
    if change is None or change.at_term:
        _begin_term(rental, clock.from_epoch(at))
    if rates == old:
        _renew(actor, rental, change)
        return
    change = change or _noted(rental, rates, at)
    rental.compute_rate, rental.storage_rate = rates.compute, rates.storage
    rental.price_since = clock.from_epoch(at)
    rental.save(update_fields=["compute_rate", "storage_rate", "price_since", *_TERM])
    move_price(
        change,
        PriceState.APPLIED,
        compute_rate=rates.compute,
        storage_rate=rates.storage,
        starts_at=clock.from_epoch(at),
        closed_at=clock.now(),
    )
    reprice(actor, rental, at)
    resize_reserve(actor, rental)
    record(actor, rental, "rental.price_changed", change)
    outbox.publish(
        PriceChanged(
            rental_id=str(rental.pk),
            renter_id=str(rental.renter_id),
            host_id=str(rental.node.owner_id),
            change_id=str(change.pk),
        )
    )
    announce(rental)


def _begin_term(rental: Rental, since: dt.datetime) -> None:
    """Lock the price for the term that begins at `since`; terms that are over already count as renewed."""
    until = locked_until(since)
    while until <= clock.now():
        until = locked_until(until)
    rental.price_until, rental.price_by_end = until, False


def shorten_lock(rental: Rental, ends_at: dt.datetime | None) -> None:
    """Let a locked rental's longer lock go with the end date that it was for; the caller saves it.

    To the new end if that is sooner, and no shorter than the usual term; without an end, to the usual term. A
    price that has been told for the lock's end keeps its day.
    """
    term = PriceChange.objects.filter(rental=rental, closed_at=None, at_term=True)
    if not rental.price_by_end or term.exists():
        return
    usual = locked_until(rental.created_at)
    least = max(usual, clock.now().replace(microsecond=0))
    rental.price_until = min(rental.price_until, max(least, ends_at or least))
    rental.price_by_end = rental.price_until > usual


def _renew(actor: Actor, rental: Rental, change: PriceChange | None) -> None:
    rental.save(update_fields=_TERM)
    if change is not None:
        close(actor, change, PriceState.LAPSED)
    audit.record(
        actor=actor,
        verb="rental.price_renewed",
        subject_type="rental",
        subject_id=rental.pk,
        data={"until": rental.price_until.isoformat()},
    )
    announce(rental)


def _noted(rental: Rental, rates: Rates, at: int) -> PriceChange:
    """Write a price down that needs no consent."""
    return PriceChange.objects.create(
        rental=rental,
        at_term=True,
        state=PriceState.PROPOSED.value,
        old_compute_rate=rental.compute_rate,
        old_storage_rate=rental.storage_rate,
        compute_rate=rates.compute,
        storage_rate=rates.storage,
        starts_at=clock.from_epoch(at),
        created_at=clock.now(),
    )


def record(actor: Actor, rental: Rental, verb: str, change: PriceChange) -> None:
    """Write in the audit log what became of a price, with both prices."""
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="rental",
        subject_id=rental.pk,
        data={
            "change": str(change.pk),
            "from": [change.old_compute_rate, change.old_storage_rate],
            "to": [change.compute_rate, change.storage_rate],
            "at": change.starts_at.isoformat(),
        },
    )
