"""Where money comes from and goes to. A provider opens a checkout and tells later, signed, what came of it.

`provider()` is the one that the settings name; `fake` pretends, and production refuses to start with it.
"""

from __future__ import annotations

from django.conf import settings

from billing.providers.base import (
    Checkout,
    Forged,
    Kind,
    PayoutProvider,
    Provider,
    ProviderAway,
    ProviderEvent,
    ProviderRefuses,
    SavedMethod,
    Sent,
)
from billing.providers.fake import FakeProvider
from billing.providers.payouts import BankPayouts, FakePayouts, StripePayouts
from billing.providers.stripe_ import StripeProvider

__all__ = [
    "Checkout",
    "Forged",
    "Kind",
    "PayoutProvider",
    "Provider",
    "ProviderAway",
    "ProviderEvent",
    "ProviderRefuses",
    "SavedMethod",
    "Sent",
    "payout_provider",
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


def payout_provider() -> PayoutProvider:
    """Return the way of paying hosts that the settings name."""
    env = settings.DC
    if env.payouts == "stripe":
        return StripePayouts(
            secret_key=env.stripe_secret_key.get_secret_value(),
            api_base=env.stripe_api_base or None,
        )
    return BankPayouts() if env.payouts == "bank" else FakePayouts()
