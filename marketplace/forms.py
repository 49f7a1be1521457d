"""What a person chooses before the exact price."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from nodes.models import Offer
from rentals.models import Template


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
