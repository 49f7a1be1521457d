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


@checks.register(checks.Tags.security)
def invoices_have_a_seller(**_: Any) -> list[checks.CheckMessage]:
    """In production an invoice names who it is from."""
    named = settings.DC.seller_name and settings.DC.seller_address
    if settings.DC.mode != "production" or named:
        return []
    hint = "Set DC_SELLER_NAME, DC_SELLER_ADDRESS and DC_SELLER_COUNTRY."
    return [checks.Critical("Invoices would name nobody who sells.", hint=hint, id="billing.E002")]


@checks.register(checks.Tags.security)
def payouts_are_real(**_: Any) -> list[checks.CheckMessage]:
    """In production nobody may be told of a payout that never came."""
    if settings.DC.mode != "production" or settings.DC.payouts != "fake":
        return []
    hint = "Set DC_PAYOUTS=bank or DC_PAYOUTS=stripe."
    return [checks.Critical("Pretended payouts pay nobody.", hint=hint, id="billing.E003")]
