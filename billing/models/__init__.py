"""Money: accounts, holds, meters and transfers. Amounts in nano-units, rates in nano/s, time in epoch seconds.

A transfer is one row that debits one account and credits another, so every operation sums to zero by
construction. Transfers never change (a trigger forbids it); a trigger on their INSERT moves the live
balances, so no code path can make balance and ledger differ. System accounts carry no live balance.
"""

from __future__ import annotations

from billing.models.invoices import BillingDetails, Invoice, NumberSeries, Paper
from billing.models.ledger import Account, AccountKind, AccountQuerySet, Hold, Meter, Transfer
from billing.models.months import Month, MonthlyStatement, Side
from billing.models.payments import (
    Deposit,
    DepositQuerySet,
    Dispute,
    PaymentEvent,
)
from billing.models.payouts import Payout, PayoutQuerySet
from billing.models.refunds import Bearer, Refund, RefundKind
from billing.models.returns import DepositReturn, DepositReturnQuerySet
from billing.models.topups import AutoTopUp

__all__ = [
    "Account",
    "AccountKind",
    "AccountQuerySet",
    "AutoTopUp",
    "Bearer",
    "BillingDetails",
    "Deposit",
    "DepositQuerySet",
    "DepositReturn",
    "DepositReturnQuerySet",
    "Dispute",
    "Hold",
    "Invoice",
    "Meter",
    "Month",
    "MonthlyStatement",
    "NumberSeries",
    "Paper",
    "PaymentEvent",
    "Payout",
    "PayoutQuerySet",
    "Refund",
    "RefundKind",
    "Side",
    "Transfer",
]
