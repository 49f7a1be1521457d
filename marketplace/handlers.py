"""Which door leads from the outbox to the worker."""

from __future__ import annotations

from core.outbox import set_hint
from marketplace.tasks import hint_drain

set_hint(hint_drain)
