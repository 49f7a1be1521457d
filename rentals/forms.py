"""What a renter types about a rental."""

from __future__ import annotations

from django import forms


class LimitsForm(forms.Form):
    """When it stops by itself; an empty field means never."""

    hours = forms.DecimalField(
        label="Hours from now", min_value=0, max_value=8760, decimal_places=2, required=False
    )
    spend_cap = forms.DecimalField(
        label="Or when it has cost, $",
        min_value=0,
        max_value=1_000_000,
        decimal_places=9,
        required=False,
    )
