"""What is asked of the books: sums, and whether they are right."""

from billing.queries.books import problems
from billing.queries.hosts import PlaceDay, earned_by_day, owed_by_hosts, ripening, young_of
from billing.queries.sums import disputed_earnings, frozen_wallets, somebody_is_exhausted

__all__ = [
    "PlaceDay",
    "disputed_earnings",
    "earned_by_day",
    "frozen_wallets",
    "owed_by_hosts",
    "problems",
    "ripening",
    "somebody_is_exhausted",
    "young_of",
]
