"""What a person asks of the search, and chooses before the exact price."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.text import format_lazy

from core.currency import lazy_sign
from nodes.models import Offer
from nodes.search.board import Answer
from nodes.search.query import USUAL
from rentals.models import Template

# Cards tell a little less than what they are sold as, hence the round thousands of MiB.
CHOICES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "gpus": (
        "Cards",
        [
            ("", "any, or none"),
            ("0", "none: a whole machine"),
            *((str(n), str(n)) for n in (1, 2, 4, 8, 16)),
        ],
    ),
    "vram_mib_min": (
        "Memory of a card, from",
        [("", "any"), *((str(gb * 1000), f"{gb} GB") for gb in (8, 12, 16, 24, 40, 48, 80, 140))],
    ),
    "reliability_bp_min": (
        "Reliability, from",
        [("", "any"), ("9500", "95 %"), ("9900", "99 %"), ("9990", "99.9 %")],
    ),
    "ready_seconds_max": (
        "Ready in, at most",
        [("", "any"), ("15", "15 s"), ("30", "30 s"), ("60", "1 minute"), ("300", "5 minutes")],
    ),
    "sort": (
        "Order",
        [
            ("", "cheapest first"),
            ("value", "most TFLOPS for the money"),
            ("ready", "ready soonest"),
            ("reliability", "most reliable"),
        ],
    ),
}
NUMBERS = {
    "hours": "For, hours",
    "disk_gb": "With disk, GB",
    "price_hourly_max": format_lazy("At most, {} an hour", lazy_sign()),
}
FACETS = {
    "gpu_model": "Model",
    "tier": "Machine class",
    "region": "Region",
    "country": "Country",
    "isolation": "Isolation",
}


def search_form(asked: dict[str, list[str]], answer: Answer) -> dict[str, Any]:
    """Return the fields of the search with what is chosen, and how much there is of each choice.

    `others` are filters of the address that have no field here; the form keeps them.
    """
    one = {name: values[0] for name, values in asked.items() if len(values) == 1}
    facets = [
        {"name": name, "label": label, "choices": _counted(answer.facets[name], one.get(name, ""))}
        for name, label in FACETS.items()
    ]
    choices = [
        {"name": name, "label": label, "choices": _chosen(listed, one.get(name, ""))}
        for name, (label, listed) in CHOICES.items()
    ]
    numbers = [
        {"name": name, "label": label, "value": one.get(name, USUAL.get(name, ""))}
        for name, label in NUMBERS.items()
    ]
    shown = one.keys() & {*FACETS, *CHOICES, *NUMBERS}
    others = [
        (name, value)
        for name, values in asked.items()
        if name not in shown and name not in {"after", "template"}
        for value in values
    ]
    return {"selects": choices + facets, "numbers": numbers, "others": others}


def _counted(counts: list[dict[str, Any]], chosen: str) -> list[dict[str, Any]]:
    """Return the words of a facet with how many there are of each; one that is chosen stays when there are none."""
    known = [each for each in counts if each["value"] is not None]
    choices = [
        {"value": each["value"], "label": f"{each['value']} ({each['count']})"}
        for each in sorted(known, key=lambda each: each["value"])
    ]
    if chosen and all(each["value"] != chosen for each in choices):
        choices.append({"value": chosen, "label": f"{chosen} (0)"})
    return [
        {**each, "chosen": each["value"] == chosen}
        for each in [{"value": "", "label": "any"}, *choices]
    ]


def _chosen(listed: list[tuple[str, str]], chosen: str) -> list[dict[str, Any]]:
    if chosen not in dict(listed):
        listed = [*listed, (chosen, chosen)]
    return [{"value": value, "label": label, "chosen": value == chosen} for value, label in listed]


class MarketForm(forms.Form):
    """Which models, and how far back."""

    model = forms.CharField(label="Model", max_length=200, required=False)
    days = forms.TypedChoiceField(
        label="Over",
        choices=[(1, "a day"), (7, "a week"), (30, "a month"), (90, "three months")],
        coerce=int,
        empty_value=None,
        required=False,
    )


class LaunchForm(forms.Form):
    """Template, disk and (on a GPU machine) the number of cards."""

    template = forms.ModelChoiceField(Template.objects.none(), empty_label=None)
    disk_gb = forms.IntegerField(label="Disk, GB", min_value=1, initial=10)
    gpu_count = forms.IntegerField(label="GPUs", min_value=1, initial=1)

    def __init__(
        self, *args: Any, offer: Offer, templates: QuerySet[Template], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["template"] = forms.ModelChoiceField(templates, empty_label=None)
        self.fields["disk_gb"].widget.attrs["max"] = offer.disk_gb
        if not offer.gpu_total:
            del self.fields["gpu_count"]
