from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


class BillingConfig(AppConfig):
    name = "billing"


@checks.register(checks.Tags.security)
def payments_are_real(**_: Any) -> list[checks.CheckMessage]:
    """In production nobody may be given money that was never paid."""
    if settings.DC.mode != "production" or settings.DC.payments != "fake":
        return []
    hint = "Set DC_PAYMENTS=stripe, DC_STRIPE_SECRET_KEY and DC_STRIPE_WEBHOOK_SECRET."
    return [checks.Critical("Pretended payments give money away.", hint=hint, id="billing.E001")]
