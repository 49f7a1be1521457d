"""What a renter types about a rental."""

from __future__ import annotations

from django import forms


class LimitsForm(forms.Form):
    """When it stops by itself. An empty cap or idleness means never; empty hours leave the end as it is."""

    hours = forms.DecimalField(
        label="Hours from now", min_value=0, max_value=8760, decimal_places=2, required=False
    )
    no_end = forms.BooleanField(label="No end date", required=False)
    spend_cap = forms.DecimalField(
        label="Or when it has cost, $",
        min_value=0,
        max_value=1_000_000,
        decimal_places=9,
        required=False,
    )
    idle_minutes = forms.IntegerField(
        label="Or after minutes of doing next to nothing",
        min_value=5,
        max_value=7 * 24 * 60,
        required=False,
    )


class CheckpointForm(forms.Form):
    """What runs inside before the platform stops it, and how long it may take."""

    command = forms.CharField(label="Command (sh -c)", max_length=1000, required=False)
    seconds = forms.IntegerField(label="Seconds it gets", min_value=1, max_value=600)
