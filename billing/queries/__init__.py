"""What is asked of the books: sums, whether they are right, and bills told by the audit log alone."""

from billing.queries.books import problems
from billing.queries.hosts import PlaceDay, earned_by_day, owed_by_hosts, ripening, young_of
from billing.queries.replay import Replayed, replay
from billing.queries.sums import disputed_earnings, frozen_wallets, somebody_is_exhausted

__all__ = [
    "PlaceDay",
    "Replayed",
    "disputed_earnings",
    "earned_by_day",
    "frozen_wallets",
    "owed_by_hosts",
    "problems",
    "replay",
    "ripening",
    "somebody_is_exhausted",
    "young_of",
]
