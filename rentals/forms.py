"""What a renter types about a rental."""

from __future__ import annotations

from django import forms
from django.utils.text import format_lazy

from core.currency import lazy_sign


class LimitsForm(forms.Form):
    """When it stops by itself. An empty cap or idleness means never; empty hours leave the end as it is."""

    hours = forms.DecimalField(
        label="Hours from now", min_value=0, max_value=8760, decimal_places=2, required=False
    )
    no_end = forms.BooleanField(
        label="No end date",
        required=False,
        help_text="A price that is locked longer because of a far end date is then locked for the usual term.",
    )
    spend_cap = forms.DecimalField(
        label=format_lazy("Or when it has cost, {}", lazy_sign()),
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


_VALUES = (
    "NAME=value, one a line. A value with line breaks is written as a JSON text, in double quotes."
)
_SECRETS = "NAME=name of a secret, one a line: whoever rents it uses a secret of their own."
_PORTS = "One a line: number, http or tcp, a label. Each gets a public address, as SSH does anyway."
_SCRIPT = "Run by bash, or sh where there is none, at every start beside the image's program."


def _text(label: str, hint: str = "", rows: int = 0, most: int = 40_000) -> forms.CharField:
    widget = (
        forms.Textarea(attrs={"rows": rows, "spellcheck": "false"}) if rows else forms.TextInput()
    )
    return forms.CharField(
        label=label, help_text=hint, required=False, strip=False, max_length=most, widget=widget
    )


def _number(label: str, hint: str = "", initial: int = 0, least: int = 0) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, help_text=hint, initial=initial, min_value=least, max_value=2**31 - 1
    )


class TemplateForm(forms.Form):
    """A template's whole document, part by part; `rentals.writing` turns it into one and back."""

    name = forms.CharField(max_length=80)
    slug = _text("Short name", "For addresses and programs; empty: made from the name.", most=60)
    description = _text("Description", "One line, shown in lists.", most=400)
    image = forms.CharField(max_length=500, help_text="As docker pull takes it: host/name:tag.")
    registry_login = _text(
        "Log-in of the registry",
        "A secret of yours, if it asks for one.",
        most=64,
    )
    entrypoint = _text("Entry point", "Words as in a shell; empty: the image's own.", 2)
    command = _text("Command", "Words as in a shell; empty: the image's own.", 2)
    env = _text(
        "Variables",
        _VALUES,
        5,
        300_000,
    )
    secrets = _text(
        "Variables from secrets",
        _SECRETS,
        3,
    )
    ports = _text(
        "Ports",
        _PORTS,
        3,
    )
    start_script = _text(
        "Start script",
        _SCRIPT,
        6,
    )
    disk_gb = _number("Usual disk, GB", initial=10, least=1)
    min_disk_gb = _number("Least disk, GB", initial=1, least=1)
    least_gpus = _number("Least GPUs")
    least_vram_mib = _number("Least memory of each GPU, MiB")
    least_cuda = _number("Least CUDA, in hundredths", "12.4 is 1240; 0 asks for nothing.")
    least_cpu_cores = _number("Least CPU cores")
    least_memory_mib = _number("Least memory, MiB")
    ssh_user = forms.CharField(
        label="SSH user", initial="root", max_length=32, help_text="Who logs in to this image."
    )
    ssh_port = _number("SSH port in the container", initial=22, least=1)
    readme = _text("Readme", "What people should know before they rent it.", 8)


class RaiseForm(forms.Form):
    """A higher price that a host asks a renter for; it needs consent."""

    compute_hourly = forms.DecimalField(
        label=format_lazy("{} an hour for each GPU, or for the machine without one", lazy_sign()),
        min_value=0,
        max_value=1000,
    )
    storage_gb_monthly = forms.DecimalField(
        label=format_lazy("{} a month for each GB of disk", lazy_sign()),
        min_value=0,
        max_value=1000,
    )
