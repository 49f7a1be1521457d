"""What hosts are told of what they earn. Pure."""

from __future__ import annotations

from accounts.notices.entry import PAGE, Entry

_PAGE = frozenset({PAGE})

ENTRIES = (
    Entry(
        "payout_requested",
        "host",
        "information",
        "A payout of your earnings is asked for.",
        "A payout of {amount:money} was asked for",
        "It goes to the account that ends with {hint}. If that was not you, take it back on the page of your "
        "earnings and change your password.",
        "earnings",
        fixed=_PAGE,
    ),
    Entry(
        "payout_approved",
        "host",
        "information",
        "A payout is approved and will be sent.",
        "Your payout of {amount:money} is approved",
        "It is sent next to the account that ends with {hint}.",
        "earnings",
        on=_PAGE,
    ),
    Entry(
        "payout_paid",
        "host",
        "usable",
        "A payout is sent.",
        "{amount:money} are on their way to you",
        "They were sent at {at:when} to the account that ends with {hint}, as {ref}.",
        "earnings",
    ),
    Entry(
        "payout_refused",
        "host",
        "failed",
        "A payout is refused; the money is free again.",
        "Your payout of {amount:money} was refused",
        "{why} The money is free again.",
        "earnings",
    ),
    Entry(
        "payout_failed",
        "host",
        "failed",
        "A payout could not be sent; the money is free again.",
        "Your payout of {amount:money} could not be sent",
        "{why} The money is free again: look at the account that it should go to and ask once more.",
        "earnings",
    ),
    Entry(
        "payout_reversed",
        "host",
        "failed",
        "The payment provider takes a payout back; the money is free again.",
        "{amount:money} of a payout came back",
        "The payment provider took it back from the account that ends with {hint}. It is free again: look at that "
        "account, and ask once more.",
        "earnings",
    ),
    Entry(
        "earnings_taken",
        "host",
        "failed",
        "A renter gets money back that one of your machines had earned.",
        "{amount:money} of your earnings went back to a renter",
        "{why} What you no longer had is owed and is taken from what you earn next.",
        "earnings",
    ),
)
