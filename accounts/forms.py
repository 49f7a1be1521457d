"""What a person types about their own account."""

from __future__ import annotations

from zoneinfo import available_timezones

from django import forms


class SshKeyForm(forms.Form):
    """A name and the line of a .pub file."""

    name = forms.CharField(max_length=80, initial="laptop")
    public_key = forms.CharField(
        label="Public key", max_length=20_000, widget=forms.Textarea(attrs={"rows": 4})
    )


class NameForm(forms.Form):
    """Just a name."""

    name = forms.CharField(max_length=80)


class ZoneForm(forms.Form):
    """Whose clock mail goes by."""

    zone = forms.ChoiceField(
        label="Time zone in mail",
        required=False,
        choices=[("", "UTC"), *[(name, name) for name in sorted(available_timezones())]],
    )
