"""Lines and movements as every door shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from billing.machine import DepositState, PayoutState, ReturnState
from billing.models import Deposit, DepositReturn, Payout, Refund, Transfer
from billing.presenting.top_ups import top_up_out as top_up_out
from billing.queries import PlaceDay
from billing.services import (
    DAYS_AT_MOST,
    Balance,
    BillLine,
    HostBalance,
    Movement,
    fees_told,
)
from core import clock, money, secrets
from core.errors import Invalid

# Digits that fit a bigint.
LONGEST_CURSOR = 18


def balance_out(balance: Balance) -> dict[str, Any]:
    """Return a wallet; amounts are decimal strings, `runs_out` is None while nothing burns."""
    return {
        "currency": balance.currency,
        "total": money.decimal_string(balance.total),
        "available": money.decimal_string(balance.available),
        "locked": money.decimal_string(balance.locked),
        "hourly": money.decimal_string(balance.burn * money.SECONDS_PER_HOUR),
        "runs_out": clock.from_epoch(balance.runs_out) if balance.runs_out else None,
        "frozen": balance.frozen,
    }


FROZEN_WORDS = {
    "": "",
    "host_owes": "Something was given back that had been paid out. It is paid from what you earn next.",
    "wallet_frozen": "A payment of yours is disputed or owed. Pay in what is owed first.",
}


def host_balance_out(balance: HostBalance) -> dict[str, Any]:
    """Return what a host has earned and not taken out; amounts are decimal strings."""
    return {
        "currency": balance.currency,
        "pending": money.decimal_string(balance.pending),
        "available": money.decimal_string(balance.available),
        "payable": money.decimal_string(balance.payable),
        "disputed": money.decimal_string(balance.disputed),
        "owed": money.decimal_string(balance.owed),
        "frozen": balance.frozen,
        "sentence": FROZEN_WORDS[balance.frozen],
        "ripens": [
            {"day": day, "amount": money.decimal_string(amount)} for day, amount in balance.ripens
        ],
    }


def place_day_out(row: PlaceDay) -> dict[str, Any]:
    """Return what one machine earned on one day; `machine_id` is None for what came before it was kept."""
    return {
        "machine_id": str(row.place_id) if row.place_id else None,
        "day": row.day,
        "earned": money.decimal_string(row.earned),
        "seconds": row.seconds,
    }


def cursor_from(given: str | None) -> int | None:
    """Return where a page starts, None for the first. Raises Invalid `cursor_invalid`."""
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= LONGEST_CURSOR):
        raise Invalid("cursor_invalid", "Pass on `next` as it was given, or leave it out.")
    return int(given)


def days_from(given: str | None) -> int:
    """Return how many days are asked for. Raises Invalid `days_range`."""
    if given is None:
        return 31
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:4]) <= DAYS_AT_MOST):
        raise Invalid("days_range", f"Ask for 1 to {DAYS_AT_MOST} days.")
    return int(given)


def line_out(line: BillLine) -> dict[str, Any]:
    """Return one line of a bill; amounts are decimal strings."""
    return {
        "subject_id": str(line.subject_id),
        "kind": line.kind,
        "seconds": line.seconds,
        "started": clock.from_epoch(line.started),
        "ended": clock.from_epoch(line.ended) if line.ended else None,
        "paid_by_renter": money.decimal_string(line.amount),
        "earned": money.decimal_string(line.host_share),
    }


DEPOSIT_WORDS = {
    DepositState.CREATED: ("Opening the checkout", "Nothing was charged yet.", "waiting"),
    DepositState.PENDING: (
        "Waiting for the payment",
        "Pay at the link; it may take a while.",
        "waiting",
    ),
    DepositState.SUCCEEDED: ("Paid", "It is in your wallet.", "usable"),
    DepositState.FAILED: (
        "Payment failed",
        "Nothing was charged. Try again at the link.",
        "failed",
    ),
    DepositState.EXPIRED: ("Expired", "Nobody paid in time. Nothing was charged.", "neutral"),
    DepositState.REFUNDED: ("Refunded", "It went back to where it came from.", "neutral"),
    DepositState.DISPUTED: (
        "Disputed",
        "The bank holds this payment back, so nothing new can be started until it decides.",
        "failed",
    ),
    DepositState.LOST: ("Taken back by the bank", "The bank decided for the payer.", "failed"),
}


def deposit_out(deposit: Deposit) -> dict[str, Any]:
    """Return a deposit with its state in words; `url` is where to pay while that is possible."""
    state = DepositState(deposit.state)
    label, sentence, _ = DEPOSIT_WORDS[state]
    payable = state in {DepositState.PENDING, DepositState.FAILED}
    return {
        "id": str(deposit.pk),
        "amount": money.decimal_string(deposit.amount),
        "currency": deposit.currency,
        "refunded": money.decimal_string(deposit.refunded),
        "state": deposit.state,
        "label": label,
        "sentence": sentence,
        "url": deposit.url if payable else "",
        "created_at": deposit.created_at,
    }


# What a movement is, for people; the keys are the kinds of transfers.
KIND_WORDS = {
    "deposit": "Paid in",
    "share": "Use: the host's share",
    "fee": "Use: the platform's fee",
    "share_back": "Use taken back: the host's share",
    "fee_back": "Use taken back: the platform's fee",
    "returned": "Sent back to what it was paid with",
    "return_undone": "Could not be sent back",
    "payout": "Asked to be paid out",
    "payout_sent": "Paid out",
    "payout_back": "Not paid out after all",
    "payout_reversed": "A payout that the provider took back",
    "refund_share": "Given back: the host's share",
    "refund_fee": "Given back: the platform's fee",
    "credit_share": "Credit for a fault: the host's share",
    "credit_fee": "Credit for a fault: the platform's fee",
    "undone": "Given back twice, and taken back once",
    "adjustment": "A gift of the platform",
    "dispute": "Asked back by the payer's bank",
    "dispute_won": "The bank gave it back",
    "debt_paid": "Paid what was owed",
    "debt_returned": "Returned what was paid too much",
}


def kind_words(kind: str) -> str:
    """Return the kind of a movement in words."""
    return KIND_WORDS.get(kind) or kind.replace("_", " ").capitalize()


def fees_out() -> list[dict[str, Any]]:
    """Return today's fee and the announced ones, in percent; `since` is None for today's."""
    return [
        {"since": clock.from_epoch(since) if since else None, "percent": f"{bps / 100:g}"}
        for since, bps in fees_told()
    ]


RETURN_WORDS = {
    ReturnState.DECIDED: "Goes back to the payer",
    ReturnState.SENT: "Sent back to the payer",
    ReturnState.FAILED: "Could not be sent back",
}


def return_out(made: DepositReturn) -> dict[str, Any]:
    """Return what of a deposit goes back, with why."""
    return {
        "id": str(made.pk),
        "deposit_id": str(made.deposit_id),
        "amount": money.decimal_string(made.amount),
        "currency": made.deposit.currency,
        "state": made.state,
        "label": RETURN_WORDS[ReturnState(made.state)],
        "reason": made.reason,
        "note": made.note,
        "created_at": made.created_at,
    }


REFUND_WORDS = {
    "refund": "Given back by staff",
    "credit": "Credit for a fault",
    "adjustment": "A gift of the platform",
}


def refund_out(refund: Refund) -> dict[str, Any]:
    """Return what somebody was given back, with why and the evidence."""
    return {
        "id": str(refund.pk),
        "kind": refund.kind,
        "label": REFUND_WORDS[refund.kind],
        "amount": money.decimal_string(refund.amount),
        "currency": refund.currency,
        "subject_id": str(refund.subject_id) if refund.subject_id else None,
        "incident": refund.incident,
        "reason": refund.reason,
        "borne_by": refund.borne_by,
        "evidence": refund.evidence,
        "at": refund.created_at,
    }


PAYOUT_WORDS = {
    PayoutState.REQUESTED: ("Asked for", "Staff look at it.", "waiting"),
    PayoutState.APPROVED: ("Approved", "It is sent next.", "waiting"),
    PayoutState.SENDING: ("On its way", "The bank has it, or is about to.", "waiting"),
    PayoutState.PAID: ("Paid", "It was sent to your account.", "usable"),
    PayoutState.REFUSED: ("Not paid", "It is free again.", "neutral"),
    PayoutState.FAILED: ("Failed", "It was not taken, and is free again.", "failed"),
    PayoutState.REVERSED: ("Came back", "It is free again.", "failed"),
}


def payout_out(payout: Payout) -> dict[str, Any]:
    """Return a payout with its state in words; of the account only the last characters."""
    label, sentence, _ = PAYOUT_WORDS[PayoutState(payout.state)]
    return {
        "id": str(payout.pk),
        "amount": money.decimal_string(payout.amount),
        "currency": payout.currency,
        "to": f"…{payout.hint}",
        "state": payout.state,
        "label": label,
        "sentence": f"{sentence} {payout.note}".strip(),
        "reference": payout.ref,
        "reversed": money.decimal_string(payout.reversed),
        "cancellable": payout.state in {"requested", "approved"},
        "created_at": payout.created_at,
        "changed_at": payout.changed_at,
    }


def staff_payout_out(payout: Payout) -> dict[str, Any]:
    """Return a payout as staff see it: whose, by which way, and to which account."""
    return payout_out(payout) | {
        "owner_id": str(payout.owner_id),
        "provider": payout.provider,
        "destination": secrets.unseal(payout.destination),
    }


WALLETS = ("wallet",)


def signed(transfer: Transfer, owner_id: object, kinds: Sequence[str] = WALLETS) -> int:
    """Return what a movement did to the accounts of these kinds of its owner (nano-units): minus what left."""
    incoming = transfer.dst.owner_id == owner_id and transfer.dst.kind in kinds
    return transfer.amount if incoming else -transfer.amount


def transfer_out(
    transfer: Transfer, owner_id: object, kinds: Sequence[str] = WALLETS
) -> dict[str, Any]:
    """Return one movement as its owner sees it: what goes out has a minus."""
    return {
        "id": transfer.pk,
        "kind": transfer.kind,
        "words": kind_words(transfer.kind),
        "amount": money.decimal_string(signed(transfer, owner_id, kinds)),
        "currency": transfer.src.currency,
        "subject_id": str(transfer.meter.subject_id) if transfer.meter else None,
        "line_id": str(transfer.meter_id) if transfer.meter_id else None,
        "from": clock.from_epoch(transfer.t0) if transfer.t0 else None,
        "to": clock.from_epoch(transfer.t1) if transfer.t1 else None,
        "at": transfer.created_at,
    }


def movement_out(found: Movement, owner_id: object) -> dict[str, Any]:
    """Return one movement with the arithmetic and the events behind it."""
    rate, original = found.rate, found.transfer.reverses
    # What is given back belongs to the line of what was posted.
    meter = found.transfer.meter or (original.meter if original else None)
    return {
        **transfer_out(found.transfer, owner_id),
        "subject_id": str(meter.subject_id) if meter else None,
        "line_id": str(meter.pk) if meter else None,
        "sentence": _sentence(found),
        "rate_nano_per_second": rate,
        "seconds": found.seconds,
        "reverses": found.transfer.reverses_id,
        "mended_by": list(found.mended_by),
        "deposit_id": str(found.deposit_id) if found.deposit_id else None,
        "dispute_id": str(found.dispute_id) if found.dispute_id else None,
    }


def _sentence(found: Movement) -> str:
    """Return how the amount comes about."""
    transfer = found.transfer
    amount = money.decimal_string(transfer.amount)
    currency = transfer.src.currency
    mends = transfer.reverses_id
    if found.rate is None or found.seconds is None:
        tail = f", a part of movement {mends}" if mends else ""
        return f"{kind_words(transfer.kind)}: {amount} {currency}{tail}."
    assert transfer.meter is not None
    hourly = money.decimal_string(found.rate * money.SECONDS_PER_HOUR)
    what = f"{found.seconds} s of {transfer.meter.kind} at {hourly} {currency} an hour"
    tail = f", which takes back a part of movement {mends}" if mends else ""
    return f"{what} ({found.rate} billionths a second) make {amount} {currency}{tail}."
