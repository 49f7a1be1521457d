"""What is asked of the books: sums, and whether they are right."""

from billing.queries.books import problems
from billing.queries.giving import Standing, paid_by_hosts, standing
from billing.queries.hosts import PlaceDay, earned_by_day, owed_by_hosts, ripening, young_of
from billing.queries.invoices import GivenBack, Used, given_back_in, used_in
from billing.queries.months import (
    Moved,
    Window,
    first_instant,
    last_transfer_of_all,
    lines_of_month,
    moved_in_month,
)
from billing.queries.sums import disputed_earnings, frozen_wallets, somebody_is_exhausted

__all__ = [
    "GivenBack",
    "Moved",
    "PlaceDay",
    "Standing",
    "Used",
    "Window",
    "disputed_earnings",
    "earned_by_day",
    "first_instant",
    "frozen_wallets",
    "given_back_in",
    "last_transfer_of_all",
    "lines_of_month",
    "moved_in_month",
    "owed_by_hosts",
    "paid_by_hosts",
    "problems",
    "ripening",
    "somebody_is_exhausted",
    "standing",
    "used_in",
    "young_of",
]
