"""Make deposits and payouts follow what the providers know of them. No transaction is open while it is asked."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable

from django.conf import settings
from django.db.models import F

from accounts.actors import Actor
from billing import services
from billing.machine import DepositState, PayoutState, ReturnState
from billing.models import (
    Deposit,
    DepositQuerySet,
    DepositReturn,
    DepositReturnQuerySet,
    Payout,
    PayoutQuerySet,
)
from billing.providers import (
    Kind,
    PayoutProvider,
    Provider,
    ProviderAway,
    ProviderRefuses,
    SavedMethod,
    Sent,
    payout_provider,
    provider,
)
from core import clock, secrets
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
CLOCKS_DIFFER = dt.timedelta(hours=1)
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
        remember=found.remember,
    )
    return services.note_checkout(deposit_id=found.pk, ref=checkout.ref, url=checkout.url)


def follow_deposits() -> None:
    """Open checkouts that a dead process left unopened, ask about those nobody tells of, give up the oldest."""
    now = clock.now()
    waiting = Deposit.objects.filter(provider=settings.DC.payments, auto=False)
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


def send_payouts() -> None:
    """Send what staff have approved, and find out what became of what was being sent when somebody died.

    A payout that a person has to pay is only moved on: its way is the bank's.
    """
    payer = payout_provider()
    ours = Payout.objects.filter(provider=payer.name)
    fresh = ours.filter(state=PayoutState.APPROVED.value).order_by("created_at")
    lost = ours.filter(state=PayoutState.SENDING.value).order_by("changed_at")
    lost_ids = [] if payer.manual else _some(lost)
    for payout_id in _some(fresh):
        if services.begin_sending(payout_id=payout_id) and not payer.manual:
            _send(payer, payout_id)
    for payout_id in lost_ids:
        _find(payer, payout_id)


def _send(payer: PayoutProvider, payout_id: uuid.UUID) -> None:
    """Tell the provider to pay; dying here, or hearing nothing, leaves the payout to be found."""
    found = Payout.objects.get(pk=payout_id)
    try:
        sent = payer.send(
            payout_id=payout_id,
            amount=found.amount,
            currency=found.currency,
            destination=secrets.unseal(found.destination),
        )
    except ProviderRefuses as error:
        services.note_not_sent(payout_id=payout_id, why=str(error))
    except ProviderAway as error:
        log.warning("payout %s: %s", payout_id, error)
    else:
        services.note_sent(payout_id=payout_id, ref=sent.ref)


def _find(payer: PayoutProvider, payout_id: uuid.UUID) -> None:
    """Ask whether a payout was sent; if not, send it while the provider still knows its key."""
    try:
        sent = payer.find(payout_id=payout_id)
    except ProviderAway as error:
        log.warning("payout %s: %s", payout_id, error)
        return
    if sent is not None:
        services.note_sent(payout_id=payout_id, ref=sent.ref)
    elif Payout.objects.get(pk=payout_id).changed_at > clock.now() - FORGOTTEN_AFTER:
        _send(payer, payout_id)
    else:
        why = "The provider does not know of it. Ask again."
        services.note_not_sent(payout_id=payout_id, why=why)


def send_returns() -> None:
    """Send back what staff have decided, once, and find out what became of it when somebody died meanwhile."""
    taker = provider()
    open_ones = DepositReturn.objects.filter(
        state=ReturnState.DECIDED.value, deposit__provider=taker.name
    )
    for return_id in _some(open_ones.order_by("created_at")):
        _send_back(taker, return_id)


def _send_back(taker: Provider, return_id: uuid.UUID) -> None:
    """Tell the provider; dying here, or hearing nothing, leaves it to be told again by the same key."""
    found = DepositReturn.objects.select_related("deposit").get(pk=return_id)
    fresh = found.created_at > clock.now() - FORGOTTEN_AFTER
    payment = found.deposit.payment
    try:
        if fresh:
            sent: Sent | None = taker.give_back(
                return_id=return_id,
                payment=payment,
                amount=found.amount,
                currency=found.deposit.currency,
            )
        else:
            sent = taker.find_back(return_id=return_id, payment=payment)
    except ProviderRefuses as error:
        services.note_not_returned(return_id=return_id, why=str(error))
    except ProviderAway as error:
        log.warning("return %s: %s", return_id, error)
    else:
        if sent is None:
            why = "The provider does not know of it. Decide again."
            services.note_not_returned(return_id=return_id, why=why)
        else:
            services.note_returned(return_id=return_id, ref=sent.ref)


def top_up() -> None:
    """Fill the wallets that are to fill themselves, and go on with what somebody who died had begun.

    What may not be asked for again, because its rule was changed or its key is forgotten, is looked for.
    """
    now = clock.now()
    # Of any provider: what another one took before the settings changed must not keep its wallet waiting for ever.
    begun_ever = Deposit.objects.filter(auto=True, state=DepositState.CREATED.value)
    for deposit_id in _some(begun_ever.filter(created_at__lt=now - GIVE_UP_AFTER)):
        services.abandon_top_up(deposit_id=deposit_id)
    ours = begun_ever.filter(provider=settings.DC.payments)
    begun = _some(ours.filter(created_at__gt=now - FORGOTTEN_AFTER))
    fresh = [services.begin_top_up(rule_id=rule_id) for rule_id in services.due_rules()]
    for deposit_id in begun + [made.pk for made in fresh if made is not None]:
        _charge(deposit_id)
    # Whatever was asked for just now is none of these.
    for deposit_id in _some(ours.filter(asked_at__lt=now - ASK_AFTER).order_by("asked_at")):
        _look_for(deposit_id)


def _charge(deposit_id: uuid.UUID) -> None:
    """Charge the saved method for one deposit; dying here leaves it to be charged again by the same key."""
    found, taker = Deposit.objects.get(pk=deposit_id), provider()
    saved = services.method_to_charge(deposit_id=deposit_id)
    if saved is None:
        return
    try:
        event = taker.charge_saved(
            deposit_id=found.pk, amount=found.amount, currency=found.currency, saved=saved
        )
    except ProviderRefuses as error:
        services.note_declined(deposit_id=found.pk, why=str(error))
    except ProviderAway as error:
        log.warning("top-up %s: %s", found.pk, error)
    else:
        if event is not None and services.apply_event(provider=taker.name, event=event):
            services.note_topped_up(owner_id=found.owner_id)


def _look_for(deposit_id: uuid.UUID) -> None:
    """Ask what came of a charge whose answer was lost, without charging anything."""
    found, taker = Deposit.objects.get(pk=deposit_id), provider()
    services.note_asked(deposit_id=deposit_id)
    since = clock.to_epoch(found.created_at - CLOCKS_DIFFER)
    try:
        event = taker.find_charge(
            deposit_id=found.pk, currency=found.currency, customer=found.ref, since=since
        )
    except ProviderAway as error:
        log.warning("top-up %s: %s", found.pk, error)
        return
    if event is not None:
        services.apply_event(provider=taker.name, event=event)
        if event.kind is Kind.PAID:
            services.note_topped_up(owner_id=found.owner_id)


def remembered_method(*, actor: Actor) -> SavedMethod:
    """Return the method that a person's last remembered checkout was paid with.

    Raises Conflict `method_missing`, Unavailable `payments_away`.
    """
    ref = services.remembered_ref(actor=actor)
    try:
        saved = provider().saved_method(ref=ref)
    except ProviderAway as error:
        raise Unavailable("payments_away", "The payment service does not answer.") from error
    if saved is None:
        raise services.no_method()
    return saved


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


def _some(rows: DepositQuerySet | PayoutQuerySet | DepositReturnQuerySet) -> list[uuid.UUID]:
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])
