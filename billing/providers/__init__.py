"""Where money comes from. A provider opens a checkout and tells later, in its own signed words, what came of it.

`provider()` is the one that the settings name; `fake` pretends, and production refuses to start with it.
"""

from __future__ import annotations

from django.conf import settings

from billing.providers.base import (
    Checkout,
    Forged,
    Kind,
    Provider,
    ProviderAway,
    ProviderEvent,
    ProviderRefuses,
)
from billing.providers.fake import FakeProvider
from billing.providers.stripe_ import StripeProvider

__all__ = [
    "Checkout",
    "Forged",
    "Kind",
    "Provider",
    "ProviderAway",
    "ProviderEvent",
    "ProviderRefuses",
    "provider",
]


def provider() -> Provider:
    """Return the provider that the settings name."""
    env = settings.DC
    if env.payments == "stripe":
        return StripeProvider(
            secret_key=env.stripe_secret_key.get_secret_value(),
            webhook_secret=env.stripe_webhook_secret.get_secret_value(),
            api_base=env.stripe_api_base or None,
        )
    return FakeProvider(signing_key=env.secret_key.get_secret_value())
