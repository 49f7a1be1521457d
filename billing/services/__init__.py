"""What may be done with money. Amounts in nano-units, rates in nano/s, instants in epoch seconds."""

from billing.services.meters import close_meter, open_meter, roll_up, sweep_exhausted
from billing.services.statements import (
    Bill,
    BillLine,
    Earnings,
    bill_of,
    earnings_of,
    statement_of,
    verify_ledger,
)
from billing.services.wallets import (
    MAX_DEPOSIT,
    Balance,
    balance_of,
    deposit,
    place_hold,
    release_hold,
    used_up_at,
)

__all__ = [
    "MAX_DEPOSIT",
    "Balance",
    "Bill",
    "BillLine",
    "Earnings",
    "balance_of",
    "bill_of",
    "close_meter",
    "deposit",
    "earnings_of",
    "open_meter",
    "place_hold",
    "release_hold",
    "roll_up",
    "statement_of",
    "sweep_exhausted",
    "used_up_at",
    "verify_ledger",
]
