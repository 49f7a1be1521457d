"""What may be done with money. Amounts in nano-units, rates in nano/s, instants in epoch seconds."""

from billing.services.amounts import currencies, parse_amount, parse_currency
from billing.services.deposits import (
    apply_event,
    deposit_of,
    deposits_of,
    give_up,
    note_asked,
    note_checkout,
    parse_deposit,
    request_deposit,
)
from billing.services.derivation import Charge, PaidBack, derive_charges
from billing.services.earnings import (
    DAYS_AT_MOST,
    HostBalance,
    earned_by_day,
    host_balance_of,
    mature_earnings,
)
from billing.services.meters import (
    close_meter,
    open_meter,
    roll_up,
    sweep_exhausted,
    take_back,
)
from billing.services.movements import Movement, explain_transfer
from billing.services.statements import (
    Bill,
    BillLine,
    Earnings,
    Statement,
    bill_of,
    earnings_of,
    statement_of,
    verify_ledger,
)
from billing.services.takebacks import collect_debts, disputed_earnings, owed_by
from billing.services.wallets import (
    MAX_DEPOSIT,
    Balance,
    balance_of,
    balances_of,
    deposit,
    place_hold,
    release_hold,
    used_up_at,
)

__all__ = [
    "DAYS_AT_MOST",
    "MAX_DEPOSIT",
    "Balance",
    "Bill",
    "BillLine",
    "Charge",
    "Earnings",
    "HostBalance",
    "Movement",
    "PaidBack",
    "Statement",
    "apply_event",
    "balance_of",
    "balances_of",
    "bill_of",
    "close_meter",
    "collect_debts",
    "currencies",
    "deposit",
    "deposit_of",
    "deposits_of",
    "derive_charges",
    "disputed_earnings",
    "earned_by_day",
    "earnings_of",
    "explain_transfer",
    "give_up",
    "host_balance_of",
    "mature_earnings",
    "note_asked",
    "note_checkout",
    "open_meter",
    "owed_by",
    "parse_amount",
    "parse_currency",
    "parse_deposit",
    "place_hold",
    "release_hold",
    "request_deposit",
    "roll_up",
    "statement_of",
    "sweep_exhausted",
    "take_back",
    "used_up_at",
    "verify_ledger",
]
