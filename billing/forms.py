"""What a person types about money."""

from __future__ import annotations

from django import forms


class DepositForm(forms.Form):
    """How much to pay in; the key makes a doubled click one deposit."""

    amount = forms.DecimalField(
        label="Amount, $", min_value=1, max_value=10_000, decimal_places=2, initial=20
    )
    idempotency_key = forms.CharField(max_length=200, widget=forms.HiddenInput)
