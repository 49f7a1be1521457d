"""Who says what to another price: the host asks, the renter answers, and without an answer nothing changes."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.db import transaction

from accounts.actors import Actor
from core import clock, money, outbox
from core.errors import Conflict, Invalid, NotFound
from nodes.machine import WorkloadState
from nodes.models import Workload
from rentals.events import RaiseAnswered
from rentals.machine import PriceState, State
from rentals.models import PriceChange, Rental
from rentals.services.moving import announce, is_ending
from rentals.services.planned import planned_stop
from rentals.services.prices import (
    apply_price,
    move_price,
    pending_price,
    propose,
    record,
    review_locked,
)
from rentals.services.steering import mine
from rentals.services.terms import Rates, notice, rates_of, rates_wanted

MAX_PRICE = Decimal(1000)


@transaction.atomic
def answer_price(
    *, actor: Actor, rental_id: uuid.UUID, change_id: uuid.UUID, accept: bool
) -> Rental:
    """Say yes or no to the price that waits. Repeating an answer changes nothing.

    The price of the next term holds from the second the lock ends, or from now when it has ended; a raise
    inside the lock from now. Until then a renter may think again. Raises NotFound `rental_unknown`,
    `price_unknown`; Conflict `price_closed`, `action_not_now`.
    """
    rental = mine(actor, rental_id)
    change = PriceChange.objects.filter(pk=change_id, rental=rental).first()
    if change is None:
        raise NotFound("price_unknown", "There is no such price to answer for this rental.")
    wanted = PriceState.ACCEPTED if accept else PriceState.REFUSED
    if change.state == wanted or (accept and change.state == PriceState.APPLIED):
        return rental
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; its price is settled.")
    # What was accepted is in force from its second on, also where the clock comes a little later.
    settled = not change.at_term or change.state == PriceState.ACCEPTED
    if change.closed_at is not None or (settled and change.starts_at <= clock.now()):
        raise Conflict(
            "price_closed",
            "This price is no longer open. Look at the rental for what it costs and what waits now.",
        )
    if accept:
        _require_going_on(rental)
    _answer(actor, rental, change, wanted)
    return rental


def _require_going_on(rental: Rental) -> None:
    """What is about to stop, at a second that is over, must be billed up to there at the price it had."""
    now = clock.epoch()
    plan = planned_stop(rental, now) if State(rental.state) is State.RUNNING else None
    if plan is not None and plan.at <= now:
        raise Conflict(
            "action_not_now",
            "This rental has reached the end, the cap or the idleness that you set, and stops. Raise or remove that "
            "first; nothing was changed.",
        )
    workload = Workload.objects.get(pk=rental.workload_id)
    if State(rental.state) is State.RUNNING and workload.observed_state != WorkloadState.RUNNING:
        # Its machine has told of an end that is not in the bill yet, and that may lie before this second.
        raise Conflict(
            "action_not_now",
            "Its machine tells that this rental no longer runs. Look at it again in a moment; nothing was changed.",
        )


def _answer(actor: Actor, rental: Rental, change: PriceChange, wanted: PriceState) -> None:
    accept = wanted is PriceState.ACCEPTED
    now = clock.now()
    # A raise inside the lock that is refused is over; the price of the next term can still be accepted.
    over = not accept and not change.at_term
    move_price(change, wanted, answered_at=now, closed_at=now if over else None)
    record(actor, rental, "rental.raise_accepted" if accept else "rental.raise_refused", change)
    outbox.publish(
        RaiseAnswered(
            rental_id=str(rental.pk),
            renter_id=str(rental.renter_id),
            host_id=str(rental.node.owner_id),
            change_id=str(change.pk),
            accepted=accept,
        )
    )
    if accept and not change.at_term:
        apply_price(actor, rental, rates_wanted(change), clock.epoch(), change)
    elif accept and rental.price_until <= clock.now():
        # Still running: the clock was about to stop it, so no second was used without consent.
        runs = State(rental.state) is State.RUNNING
        at = clock.to_epoch(rental.price_until) if runs else clock.epoch()
        apply_price(actor, rental, rates_wanted(change), at, change)
    announce(rental)


@transaction.atomic
def offer_raise(
    *,
    actor: Actor,
    rental_id: uuid.UUID,
    compute_hourly: Decimal,
    storage_gb_monthly: Decimal,
) -> PriceChange:
    """Ask a renter for a higher price inside the lock (currency units for each GPU or the machine; for each GB).

    It holds from the second the renter accepts it; without an answer it lapses and nothing changes. Raises
    NotFound `rental_unknown`; Invalid `price_range`, `price_not_higher`; Conflict `raise_pending`,
    `raise_refused_lately`, `action_not_now`.
    """
    rental = _hosted(actor, rental_id)
    for price in (compute_hourly, storage_gb_monthly):
        if not (price.is_finite() and 0 <= price <= MAX_PRICE):
            raise Invalid("price_range", f"A price lies between 0 and {MAX_PRICE}.")
    rates = Rates(
        money.rate_from_hourly(compute_hourly) * max(rental.gpu_count, 1),
        money.rate_from_monthly(storage_gb_monthly) * rental.disk_gb,
    )
    if not rates.exceed(rates_of(rental)):
        raise Invalid(
            "price_not_higher",
            "This is not more than the rental costs now, so there is nothing to consent to.",
        )
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; its price is settled.")
    review_locked(actor, rental)
    if pending_price(rental) is not None or rental.price_until <= clock.now():
        raise Conflict(
            "raise_pending",
            "Another price waits for this renter's answer already. Wait for it; nothing was changed.",
        )
    _require_rest(rental)
    until = min(rental.price_until, (clock.now() + notice()).replace(microsecond=0))
    return propose(actor, rental, rates, until, at_term=False)


def _require_rest(rental: Rental) -> None:
    """A no counts for as long as a notice: who is asked again and again says yes by mistake one day."""
    asked = PriceChange.objects.filter(rental=rental, at_term=False)
    lately = asked.filter(state=PriceState.REFUSED.value, answered_at__gt=clock.now() - notice())
    refused = lately.order_by("-answered_at").first()
    if refused is not None and refused.answered_at is not None:
        again = f"{refused.answered_at + notice():%Y-%m-%d %H:%M} UTC"
        raise Conflict(
            "raise_refused_lately",
            f"This renter has refused a raise lately. Ask again after {again}; nothing was changed.",
        )


def _hosted(actor: Actor, rental_id: uuid.UUID) -> Rental:
    actor.require("node:manage")
    found = Rental.objects.visible_to(actor).lock().select_related("node").filter(pk=rental_id)
    rental = found.first()
    if rental is None or rental.node.owner_id != actor.user_id:
        raise NotFound("rental_unknown", "No such rental runs on a machine of yours.")
    return rental
