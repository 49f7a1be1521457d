"""What people are told of their money. Pure."""

from __future__ import annotations

from accounts.notices.entry import PAGE, Entry

_PAGE = frozenset({PAGE})

ENTRIES = (
    Entry(
        "deposit_received",
        "renter",
        "usable",
        "What you paid in is in your wallet.",
        "{amount:usd} received",
        "What you paid in at {at:when} is in your wallet and can be used.",
        "deposit",
        subject=True,
    ),
    Entry(
        "deposit_failed",
        "renter",
        "failed",
        "A payment into your wallet did not work.",
        "Your payment of {amount:usd} did not work",
        "The payment provider refused it at {at:when}; nothing was taken. Try again, or pay in another way. What "
        "runs goes on for as long as your balance lasts.",
        "deposit",
        subject=True,
    ),
    Entry(
        "dispute_opened",
        "renter",
        "failed",
        "Your bank asks for a payment back.",
        "Your bank asks for {amount:usd} back",
        "It says that you did not agree to this payment. Until it has decided, the money is out of your wallet and "
        "nothing new can be started. If this is a mistake, tell your bank.",
        "deposit",
        subject=True,
    ),
    Entry(
        "dispute_won",
        "renter",
        "usable",
        "Your bank has decided that a payment stands.",
        "The payment that was disputed stands",
        "Your bank has decided: {amount:usd} are in your wallet again.",
        "deposit",
        subject=True,
    ),
    Entry(
        "dispute_lost",
        "renter",
        "failed",
        "Your bank has taken a payment back.",
        "Your bank took {amount:usd} back",
        "The payment is undone. What of it was used already is owed; what you pay in next settles that first.",
        "deposit",
        subject=True,
    ),
    Entry(
        "wallet_frozen",
        "renter",
        "failed",
        "Nothing new can be started, because a payment is disputed or owed.",
        "Your wallet is frozen",
        "Since {at:when} nothing new can be started: a payment is disputed, or {owed:usd} are owed. What you pay "
        "in settles it first. What runs goes on.",
        "wallet",
    ),
    Entry(
        "wallet_thawed",
        "renter",
        "usable",
        "Your wallet can be used again after it was frozen.",
        "Your wallet can be used again",
        "Nothing is disputed or owed since {at:when}.",
        "wallet",
        on=_PAGE,
    ),
    Entry(
        "balance_used_up",
        "renter",
        "failed",
        "Your balance is used up, and what ran is stopped.",
        "Your balance is used up",
        "What ran is stopped. Your disks ({disks}) are kept from their reserve until {until:when}, and are deleted "
        "then. Pay in before that to keep them.",
        "wallet",
        fixed=_PAGE,
    ),
    Entry(
        "invoice_issued",
        "renter",
        "information",
        "An invoice for last month's use, or a credit note, is there.",
        "{number} over {amount:usd}",
        "It is for your use of {month} and paid from your wallet. You find it as a page and as PDF.",
        "invoice",
        subject=True,
    ),
)
