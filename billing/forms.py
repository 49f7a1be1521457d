"""What a person types about money."""

from __future__ import annotations

from django import forms
from django.utils.text import format_lazy

from core.currency import lazy_sign


class PayoutForm(forms.Form):
    """How much to be paid, and where to; the key makes a doubled click one payout."""

    amount = forms.CharField(label=format_lazy("Amount, {}", lazy_sign()), max_length=20)
    destination = forms.CharField(label="To the account", max_length=100)
    idempotency_key = forms.CharField(max_length=200, widget=forms.HiddenInput)


class DepositForm(forms.Form):
    """How much to pay in; the key makes a doubled click one deposit."""

    amount = forms.DecimalField(
        label=format_lazy("Amount, {}", lazy_sign()),
        min_value=1,
        max_value=10_000,
        decimal_places=2,
        initial=20,
    )
    remember = forms.BooleanField(
        label="Remember the payment method, so that the wallet can fill itself", required=False
    )
    idempotency_key = forms.CharField(max_length=200, widget=forms.HiddenInput)


class TopUpForm(forms.Form):
    """When a wallet fills itself, by how much, and at most how much in a month."""

    threshold = forms.CharField(
        label=format_lazy("When less is free than, {}", lazy_sign()), max_length=20
    )
    amount = forms.CharField(label=format_lazy("Fill up by, {}", lazy_sign()), max_length=20)
    month_max = forms.CharField(
        label=format_lazy("At most in a month, {}", lazy_sign()), max_length=20
    )


class DetailsForm(forms.Form):
    """Whom invoices are made out to."""

    name = forms.CharField(label="Name", max_length=120, required=False)
    company = forms.CharField(label="Company", max_length=120, required=False)
    address = forms.CharField(
        label="Address", max_length=500, required=False, widget=forms.Textarea({"rows": 3})
    )
    country = forms.CharField(
        label="Country, two letters", max_length=2, required=False, help_text="ISO 3166: NO, DE, US"
    )
    vat_id = forms.CharField(label="VAT id", max_length=40, required=False)
