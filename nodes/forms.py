"""What a host types about machines."""

from __future__ import annotations

from django import forms


class PricesForm(forms.Form):
    """Prices from now on; what runs keeps its own."""

    gpu_hourly = forms.DecimalField(label="$ an hour for each GPU", min_value=0, max_value=1000)
    cpu_node_hourly = forms.DecimalField(
        label="$ an hour for the machine (no GPU)", min_value=0, max_value=1000
    )
    storage_gb_monthly = forms.DecimalField(
        label="$ a month for each GB of disk", min_value=0, max_value=1000
    )


class NodeKeyForm(forms.Form):
    """The name of a machine that will join."""

    name = forms.CharField(label="Name of the machine", max_length=80)
