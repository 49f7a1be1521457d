"""Money that leaves the house: asked for by hosts, decided by staff, sent by a provider. Nano-units.

The amount leaves what is free when it is asked for, so nothing can take it twice, and comes back if it is not paid.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import ledger, queries
from billing.events import PayoutChanged
from billing.machine import PayoutState
from billing.models import Account, AccountKind, Payout, Transfer
from billing.providers import ProviderEvent, payout_provider
from billing.services import amounts
from billing.services.earnings import host_balance_of, why_frozen
from billing.services.wallets import announce
from core import clock, idempotency, money, outbox, secrets
from core.errors import Conflict, Forbidden, FundsInsufficient, Invalid, NotFound, Unavailable
from core.ids import new_id
from core.pages import page_of

CENT = money.NANO // 100
MOST = 100_000 * money.NANO
HINT_LENGTH = 4
NOTE_LENGTH = 400
TAKEN_BACK = "Taken back by its owner."
TAKEN_BY_PROVIDER = "The payment provider took it back."
UNDECIDED = frozenset({PayoutState.REQUESTED, PayoutState.APPROVED})


def least_payout() -> int:
    """Return the least that is paid out (nano-units)."""
    return int(settings.DC.payout_minimum) * money.NANO


def parse_payout(given: object) -> int:
    """Return what a host wants to be paid (nano-units). Raises Invalid as `parse_amount` does."""
    return amounts.parse_amount(given, least=least_payout(), most=MOST, places=2)


@transaction.atomic
def request_payout(*, actor: Actor, amount: int, destination: str, idempotency_key: str) -> Payout:
    """Ask to be paid `amount` (nano-units, whole cents); it leaves what is free at once.

    The same key gives the same payout. Raises Invalid `amount_range`, `destination_invalid`, Conflict
    `payouts_frozen`, FundsInsufficient `earnings_insufficient`.
    """
    actor.require("payout:request")
    if not least_payout() <= amount <= MOST or amount % CENT:
        low, high = money.human_string(least_payout()), money.human_string(MOST)
        raise Invalid("amount_range", f"A payout lies between {low} and {high}, in whole cents.")
    payer, destination = payout_provider(), destination.strip()
    if not payer.check_destination(destination):
        raise Invalid("destination_invalid", "Name the account that the money should go to.")
    payout_id, owner_id = new_id(), actor.user_id
    first = idempotency.claim(
        owner_id=owner_id,
        key=idempotency_key,
        body=f"payout {amount} {destination}",
        subject_id=payout_id,
    )
    if first != payout_id:
        return Payout.objects.get(pk=first)
    free = _free_of(owner_id)
    _require_payable(owner_id, amount)
    now = clock.now()
    made = Payout.objects.create(
        id=payout_id,
        owner_id=owner_id,
        amount=amount,
        currency=free.currency,
        provider=payer.name,
        destination=secrets.seal(destination),
        hint=destination[-HINT_LENGTH:],
        state=PayoutState.REQUESTED.value,
        created_at=now,
        changed_at=now,
    )
    _post(made, free, _on_the_way(made), "payout")
    _tell(actor, made)
    return made


def _require_payable(owner_id: uuid.UUID, amount: int) -> None:
    """Raise unless this much may leave; what is free is locked, so the answer holds."""
    balance = host_balance_of(owner_id=owner_id)
    if balance.frozen:
        raise Conflict(
            "payouts_frozen",
            "Something is disputed or owed, so nothing is paid out. It says on the page what to do.",
            reason=balance.frozen,
        )
    if amount > balance.payable:
        payable = money.decimal_string(balance.payable)
        raise FundsInsufficient(
            "earnings_insufficient",
            f"{payable} {balance.currency} can be paid out now. Ask for less, or wait until more has matured.",
            payable=payable,
            currency=balance.currency,
        )


def payouts_of(*, actor: Actor) -> list[Payout]:
    """Return a host's own payouts, newest first."""
    return list(Payout.objects.filter(owner_id=actor.user_id).order_by("-created_at")[:100])


def payout_of(*, actor: Actor, payout_id: uuid.UUID) -> Payout:
    """Return one of a host's own payouts. Raises NotFound `payout_unknown`."""
    mine = Payout.objects.filter(pk=payout_id)
    found = (mine if actor.is_staff else mine.filter(owner_id=actor.user_id)).first()
    if found is None:
        raise NotFound("payout_unknown", "There is no such payout.")
    return found


def payouts_in(*, actor: Actor, state: str = "", before: str | None = None) -> list[Payout]:
    """Return everybody's payouts for staff, newest first, 100 at a time, older than the payout `before`.

    Raises Invalid `state_unknown`, `cursor_invalid`.
    """
    actor.require("staff")
    rows = everybodys = Payout.objects.all()
    if state:
        if state not in set(PayoutState):
            raise Invalid("state_unknown", f"A payout is one of {', '.join(PayoutState)}.")
        rows = rows.filter(state=state)
    # The last one of a page may have been decided before the next page is asked for.
    return page_of(rows, before=before, limit=100, among=everybodys).rows


@transaction.atomic
def approve_payout(*, actor: Actor, payout_id: uuid.UUID) -> Payout:
    """Let a payout be sent; harmless when it is approved already. Nobody approves one's own.

    Raises Conflict `payouts_frozen`, `payout_decided`.
    """
    found = _locked_for_staff(actor, payout_id)
    if PayoutState(found.state) is PayoutState.APPROVED:
        return found
    _require_state(found, {PayoutState.REQUESTED})
    _require_thawed(found)
    _move(actor, found, PayoutState.APPROVED)
    return found


@transaction.atomic
def refuse_payout(*, actor: Actor, payout_id: uuid.UUID, reason: str) -> Payout:
    """Refuse a payout that is not on its way; the money is free again. Raises Conflict `payout_decided`."""
    found = _locked_for_staff(actor, payout_id)
    _require_state(found, UNDECIDED)
    _give_back(actor, found, PayoutState.REFUSED, _text(reason, "reason_missing"))
    return found


@transaction.atomic
def cancel_payout(*, actor: Actor, payout_id: uuid.UUID) -> Payout:
    """Take one's own payout back while it is not on its way. Raises Conflict `payout_decided`."""
    actor.require("payout:request")
    found = Payout.objects.lock().filter(pk=payout_id, owner_id=actor.user_id).first()
    if found is None:
        raise NotFound("payout_unknown", "There is no such payout.")
    _require_state(found, UNDECIDED)
    _give_back(actor, found, PayoutState.REFUSED, TAKEN_BACK)
    return found


@transaction.atomic
def confirm_payout(*, actor: Actor, payout_id: uuid.UUID, reference: str) -> Payout:
    """Write down that a person has paid at the bank. Raises Conflict `payout_not_manual`, `payout_decided`."""
    found = _locked_for_staff(actor, payout_id)
    _require_manual(found)
    _require_state(found, {PayoutState.SENDING})
    _paid(actor, found, _text(reference, "reference_missing")[:200])
    return found


@transaction.atomic
def reject_payout(*, actor: Actor, payout_id: uuid.UUID, reason: str) -> Payout:
    """Write down that the bank did not take it; the money is free again. Raises as `confirm_payout`."""
    found = _locked_for_staff(actor, payout_id)
    _require_manual(found)
    _require_state(found, {PayoutState.SENDING})
    _give_back(actor, found, PayoutState.FAILED, _text(reason, "reason_missing"))
    return found


@transaction.atomic
def begin_sending(*, payout_id: uuid.UUID) -> bool:
    """Before the provider is told: from here on only its word ends it. False when it has to wait."""
    found = Payout.objects.lock().get(pk=payout_id)
    if PayoutState(found.state) is not PayoutState.APPROVED or _frozen(found):
        return False
    _move(Actor.system(), found, PayoutState.SENDING)
    return True


@transaction.atomic
def note_sent(*, payout_id: uuid.UUID, ref: str) -> None:
    """The provider has paid; harmless the second time."""
    found = Payout.objects.lock().get(pk=payout_id)
    if PayoutState(found.state) is PayoutState.SENDING:
        _paid(Actor.system(), found, ref)


@transaction.atomic
def note_not_sent(*, payout_id: uuid.UUID, why: str) -> None:
    """The provider will never pay this; harmless the second time."""
    found = Payout.objects.lock().get(pk=payout_id)
    if PayoutState(found.state) is PayoutState.SENDING:
        _give_back(Actor.system(), found, PayoutState.FAILED, why)


def note_reversed(*, provider: str, event: ProviderEvent) -> str:
    """The provider took back what was paid to a host: as much of it is free again. Returns what came of it.

    It tells how much in all, so what it tells twice or late moves nothing twice. Raises Unavailable
    `payout_not_sent_yet` while we have not heard that it was paid: tell us again.
    """
    named = Payout.objects.lock().filter(pk=event.payout_id or uuid.UUID(int=0), provider=provider)
    found = named.first()
    if found is None or event.currency != found.currency:
        return "payout_unknown"
    if PayoutState(found.state) is PayoutState.SENDING:
        raise Unavailable("payout_not_sent_yet", "We have not heard of this payout; tell us again.")
    more = min(event.amount, found.amount) - found.reversed
    if PayoutState(found.state) is not PayoutState.PAID or more <= 0:
        return "nothing_new"
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    free = ledger.account_of(AccountKind.HOST_FREE, found.owner_id, found.currency)
    found.reversed += more
    found.save(update_fields=["reversed"])
    row = Transfer(
        group_id=found.pk, src=gateway, dst=free, amount=more, kind="payout_reversed",
        idem=f"payout_reversed:{found.pk}:{found.reversed}", created_at=clock.now(),
    )  # fmt: skip
    Transfer.objects.bulk_create([row])
    if found.reversed == found.amount:
        _move(Actor.system(), found, PayoutState.REVERSED, note=TAKEN_BY_PROVIDER)
    else:
        _tell(Actor.system(), found, state=PayoutState.REVERSED)
    return event.kind.value


def _locked_for_staff(actor: Actor, payout_id: uuid.UUID) -> Payout:
    actor.require("staff")
    found = Payout.objects.lock().filter(pk=payout_id).first()
    if found is None:
        raise NotFound("payout_unknown", "There is no such payout.")
    if actor.kind != "system" and found.owner_id == actor.user_id:
        raise Forbidden("payout_own", "Somebody else has to decide about your own payout.")
    return found


def _require_state(found: Payout, states: set[PayoutState] | frozenset[PayoutState]) -> None:
    if PayoutState(found.state) not in states:
        raise Conflict(
            "payout_decided", f"This payout is {found.state} already.", state=found.state
        )


def _require_manual(found: Payout) -> None:
    if found.provider != "bank":
        raise Conflict("payout_not_manual", "Only the provider can say what became of this payout.")


def _frozen(found: Payout) -> str:
    owed = queries.owed_by_hosts(owners=[found.owner_id], currency=found.currency)
    return why_frozen(found.owner_id, found.currency, owed.get(found.owner_id, 0))


def _require_thawed(found: Payout) -> None:
    if reason := _frozen(found):
        raise Conflict(
            "payouts_frozen", "Something is disputed or owed by this host.", reason=reason
        )


def _text(given: str, code: str) -> str:
    text = " ".join(given.split())
    if not 1 <= len(text) <= NOTE_LENGTH:
        raise Invalid(code, f"Say it in 1 to {NOTE_LENGTH} characters: it is kept and shown.")
    return text


def _free_of(owner_id: uuid.UUID) -> Account:
    """Return what of a host's earnings is free, locked."""
    free = ledger.account_of(AccountKind.HOST_FREE, owner_id, settings.CURRENCY)
    return ledger.lock_wallet(free.pk)


def _on_the_way(found: Payout) -> Account:
    return ledger.account_of(AccountKind.PAYOUT, None, found.currency)


def _paid(actor: Actor, found: Payout, ref: str) -> None:
    gateway = ledger.account_of(AccountKind.GATEWAY, None, found.currency)
    _post(found, _on_the_way(found), gateway, "payout_sent")
    _move(actor, found, PayoutState.PAID, ref=ref)


def _give_back(actor: Actor, found: Payout, to: PayoutState, why: str) -> None:
    _post(found, _on_the_way(found), _free_of(found.owner_id), "payout_back")
    _move(actor, found, to, note=why[:NOTE_LENGTH])


def _post(found: Payout, src: Account, dst: Account, kind: str) -> None:
    row = Transfer(
        group_id=found.pk, src=src, dst=dst, amount=found.amount, kind=kind,
        idem=f"{kind}:{found.pk}", created_at=clock.now(),
    )  # fmt: skip
    Transfer.objects.bulk_create([row])


def _move(actor: Actor, found: Payout, to: PayoutState, **fields: Any) -> None:
    fields = {"changed_at": clock.now(), **fields}
    if not Payout.objects.move(found.pk, PayoutState(found.state), to, **fields):
        raise RuntimeError(f"{found} is locked, yet it is no longer {found.state}")
    found.refresh_from_db()
    _tell(actor, found)


def _tell(actor: Actor, found: Payout, *, state: PayoutState | None = None) -> None:
    told = state or PayoutState(found.state)
    audit.record(
        actor=actor,
        verb=f"payout.{told.value}",
        subject_type="payout",
        subject_id=found.pk,
        data={
            "owner": str(found.owner_id),
            "amount": found.amount,
            "reversed": found.reversed,
            "ref": found.ref,
            "note": found.note,
        },
    )
    outbox.publish(
        PayoutChanged(
            payout_id=str(found.pk),
            owner_id=str(found.owner_id),
            state=told.value,
            reversed=found.reversed,
        )
    )
    announce(found.owner_id)
