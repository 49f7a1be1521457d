"""What is asked of the books: sums, whether they are right, and bills told by the audit log alone."""

from billing.queries.books import problems
from billing.queries.replay import Replayed, replay
from billing.queries.sums import disputed_earnings, frozen_wallets, somebody_is_exhausted

__all__ = [
    "Replayed",
    "disputed_earnings",
    "frozen_wallets",
    "problems",
    "replay",
    "somebody_is_exhausted",
]
