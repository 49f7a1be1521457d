"""What a host types about machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.text import format_lazy

from core.currency import lazy_sign
from nodes.models import Node
from nodes.repricing import TARGET_RANGE_BP


def price(label: str, help_text: str = "", *, required: bool = True) -> forms.DecimalField:
    """Return a field for a price; `{}` in its label is where the currency stands."""
    return forms.DecimalField(
        label=format_lazy(label, lazy_sign()),
        help_text=help_text,
        min_value=0,
        max_value=1000,
        required=required,
    )


class PricesForm(forms.Form):
    """Prices from now on; what runs keeps its own."""

    gpu_hourly = price("{} an hour for each GPU", "Its share of cores and memory is in it.")
    cpu_node_hourly = price(
        "{} an hour for the machine (no GPU)", "A machine without cards is rented whole."
    )
    minimum_hourly = price(
        "{} an hour at least, for any rental",
        "However few GPUs somebody rents, this is what it costs without its disk. 0: no minimum.",
        required=False,
    )
    storage_gb_monthly = price("{} a month for each GB of disk")


class ManyPricesForm(forms.Form):
    """The same prices for several machines; what is left empty stays as it is."""

    machines = forms.ModelMultipleChoiceField(
        Node.objects.none(), widget=forms.CheckboxSelectMultiple
    )
    gpu_hourly = price("{} an hour for each GPU", required=False)
    cpu_node_hourly = price("{} an hour for the machine (no GPU)", required=False)
    minimum_hourly = price("{} an hour at least, for any rental", required=False)
    storage_gb_monthly = price("{} a month for each GB of disk", required=False)

    def __init__(self, *args: Any, machines: Iterable[Node], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["machines"].queryset = machines  # type: ignore[attr-defined]


class SmartPriceForm(forms.Form):
    """What smart pricing may ask, and how much of the time should be rented."""

    floor_hourly = price("Floor, {} an hour")
    ceiling_hourly = price("Ceiling, {} an hour")
    target_percent = forms.IntegerField(
        label="Rented, % of the time",
        min_value=TARGET_RANGE_BP[0] // 100,
        max_value=TARGET_RANGE_BP[1] // 100,
        help_text="Above it the price rises, below it falls; within 5 points it stays.",
    )


class NodeKeyForm(forms.Form):
    """The name of a machine that will join."""

    name = forms.CharField(label="Name of the machine", max_length=80)
