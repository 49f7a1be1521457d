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


class SecretForm(forms.Form):
    """A name and a value that nobody reads again; with host and user a registry's log-in."""

    name = forms.CharField(max_length=64, help_text="Templates refer to it by this name.")
    value = forms.CharField(
        strip=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "autocomplete": "off"}),
    )
    registry_host = forms.CharField(
        label="Registry (only for a log-in)",
        max_length=200,
        required=False,
        help_text="Its host as images name it; the value is the password.",
    )
    registry_user = forms.CharField(label="User at the registry", max_length=200, required=False)


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
