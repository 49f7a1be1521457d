"""Make deposits follow what the provider of payments knows of them. No transaction is open while it is asked."""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from django.conf import settings

from billing import services
from billing.machine import DepositState
from billing.models import Deposit
from billing.providers import ProviderAway, provider
from core import clock
from core.errors import Unavailable

log = logging.getLogger(__name__)

# A deposit that is this old and has no checkout was left behind by a process that died.
STUCK_AFTER = dt.timedelta(minutes=1)
# Later its payer has gone elsewhere.
FORGOTTEN_AFTER = dt.timedelta(hours=24)


def open_checkout(deposit_id: uuid.UUID) -> Deposit:
    """Open a deposit's checkout unless it has one. Raises Unavailable `payments_away`."""
    found = Deposit.objects.get(pk=deposit_id)
    if DepositState(found.state) is not DepositState.CREATED:
        return found
    try:
        checkout = provider().open_checkout(
            deposit_id=found.pk,
            amount=found.amount,
            currency=found.currency,
            email=found.email,
            back_url=f"{settings.DC.public_url}/deposits/{found.pk}/",
        )
    except ProviderAway as error:
        log.warning("%s: %s", found, error)
        raise Unavailable(
            "payments_away", "The payment service does not answer. Nothing was charged; try again."
        ) from error
    return services.note_checkout(deposit_id=found.pk, ref=checkout.ref, url=checkout.url)


def open_stuck() -> None:
    """Open the checkouts that a dead process left unopened."""
    now = clock.now()
    stuck = Deposit.objects.filter(
        state=DepositState.CREATED.value,
        created_at__lt=now - STUCK_AFTER,
        created_at__gt=now - FORGOTTEN_AFTER,
    )
    for deposit_id in list(stuck.values_list("pk", flat=True)[:100]):
        try:
            open_checkout(deposit_id)
        except Unavailable:
            return
