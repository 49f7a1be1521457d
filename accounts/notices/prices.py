"""What renters and hosts are told of the price of a rental. Pure."""

from __future__ import annotations

from accounts.notices.entry import PAGE, Entry

_PAGE = frozenset({PAGE})
# A host's published price may go up and down: each question is on the rental's page, and not each in the mail.
ASKED_AGAIN = 6 * 3600

ENTRIES = (
    Entry(
        "price_next_term",
        "renter",
        "waiting",
        "A rental will cost more when its price lock ends, if you accept it.",
        "{node} would cost {new:money} an hour from {start:when}",
        "It costs {old:money} an hour now, and that stays so until then. Accept or refuse on its page. Without your "
        "yes it is stopped at that moment, its disk kept.",
        "rental",
        subject=True,
        quiet=ASKED_AGAIN,
        fixed=_PAGE,
    ),
    Entry(
        "price_raise",
        "renter",
        "waiting",
        "A host asks for more inside the price lock of a rental.",
        "The host of {node} asks for {new:money} an hour",
        "It costs {old:money} an hour now. The other price holds only if you accept it before {start:when}; without an "
        "answer nothing changes.",
        "rental",
        subject=True,
    ),
    Entry(
        "price_changed",
        "renter",
        "information",
        "Another price is in force for a rental: one that you accepted, or a lower one.",
        "{node} costs {new:money} an hour",
        "Since {start:when}; it was {old:money} an hour before.",
        "rental",
        subject=True,
    ),
    Entry(
        "raise_accepted",
        "host",
        "usable",
        "A renter accepts the higher price that you asked for.",
        "Your price for {node} is accepted",
        "The renter pays {new:money} an hour instead of {old:money}, before the fee.",
        "machine",
        subject=True,
    ),
    Entry(
        "raise_refused",
        "host",
        "information",
        "A renter refuses the higher price that you asked for.",
        "Your price for {node} is refused",
        "The renter does not pay {new:money} an hour; {old:money} stay in force while they are locked.",
        "machine",
        subject=True,
    ),
)
