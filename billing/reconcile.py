"""Make deposits follow what the provider of payments knows of them. No transaction is open while it is asked."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable

from django.conf import settings
from django.db.models import F

from billing import services
from billing.machine import DepositState
from billing.models import Deposit, DepositQuerySet
from billing.providers import ProviderAway, ProviderRefuses, provider
from core import clock
from core.errors import Unavailable

log = logging.getLogger(__name__)

# A deposit that is this old and has no checkout was left behind by a process that died.
STUCK_AFTER = dt.timedelta(minutes=1)
# Providers forget idempotency keys after a day: to ask again later could open a second checkout.
FORGOTTEN_AFTER = dt.timedelta(hours=20)
# How long a webhook may take before we ask ourselves, and how often then.
ASK_AFTER = dt.timedelta(minutes=10)
# Providers send a webhook again for three days; who has not paid by then does not pay any more.
GIVE_UP_AFTER = dt.timedelta(days=4)
AT_ONCE = 100


def open_checkout(deposit_id: uuid.UUID) -> Deposit:
    """Open a deposit's checkout unless it has one. Raises Unavailable `payments_away`."""
    try:
        return _open(deposit_id)
    except ProviderAway as error:
        log.warning("deposit %s: %s", deposit_id, error)
        raise Unavailable(
            "payments_away", "The payment service does not answer. Nothing was charged; try again."
        ) from error


def _open(deposit_id: uuid.UUID) -> Deposit:
    found = Deposit.objects.get(pk=deposit_id)
    if DepositState(found.state) is not DepositState.CREATED:
        return found
    checkout = provider().open_checkout(
        deposit_id=found.pk,
        amount=found.amount,
        currency=found.currency,
        email=found.email,
        back_url=f"{settings.DC.public_url}/deposits/{found.pk}/",
    )
    return services.note_checkout(deposit_id=found.pk, ref=checkout.ref, url=checkout.url)


def follow_deposits() -> None:
    """Open checkouts that a dead process left unopened, ask about those nobody tells of, give up the oldest."""
    now = clock.now()
    waiting = Deposit.objects.filter(provider=settings.DC.payments)
    created = waiting.filter(state=DepositState.CREATED.value)
    unopened = created.filter(
        created_at__lt=now - STUCK_AFTER, created_at__gt=now - FORGOTTEN_AFTER
    )
    pending = waiting.filter(state__in=[DepositState.PENDING.value, DepositState.FAILED.value])
    untold = pending.filter(created_at__lt=now - ASK_AFTER).exclude(asked_at__gt=now - ASK_AFTER)
    _each(_open, unopened.order_by("created_at"))
    _each(_ask, untold.order_by(F("asked_at").asc(nulls_first=True)))
    # Only after it was asked in vain; what still comes later counts all the same.
    old = (created | pending).filter(created_at__lt=now - GIVE_UP_AFTER)
    for deposit_id in _some(old):
        services.give_up(deposit_id=deposit_id)


def _ask(deposit_id: uuid.UUID) -> None:
    """Ask the provider what has come of a deposit's checkout, and do what follows."""
    found = Deposit.objects.get(pk=deposit_id)
    taker = provider()
    services.note_asked(deposit_id=deposit_id)
    event = taker.ask(ref=found.ref)
    if event is not None:
        services.apply_event(provider=taker.name, event=event)


def _each(step: Callable[[uuid.UUID], object], rows: DepositQuerySet) -> None:
    """Take a step with each; one that the provider refuses holds up nobody else."""
    for deposit_id in _some(rows):
        try:
            step(deposit_id)
        except ProviderRefuses as error:
            log.warning("deposit %s: %s", deposit_id, error)
        except ProviderAway as error:
            log.warning("payments are away: %s", error)
            return


def _some(rows: DepositQuerySet) -> list[uuid.UUID]:
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])
