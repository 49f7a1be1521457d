"""What people are told of their account; none of it can be switched off. Pure."""

from __future__ import annotations

from accounts.notices.entry import CHANNELS, Entry

_ALWAYS = frozenset(CHANNELS)

ENTRIES = (
    Entry(
        "sign_in_new",
        "account",
        "information",
        "Somebody signs in to your account with a browser or from a network that was not used before.",
        "New sign-in with {browser}",
        "Your account was signed in to at {at:when} with {browser} from {address}. If that was not you, "
        "change your password now: every other session ends with it.",
        "account_change_password",
        fixed=_ALWAYS,
    ),
    Entry(
        "password_changed",
        "account",
        "waiting",
        "The password of your account is changed or set again.",
        "Your password was changed",
        'It was changed at {at:when}. If that was not you, set it again through "Forgot your password?" '
        "on the sign-in page, and then look at your SSH keys and API keys.",
        "account_reset_password",
        fixed=_ALWAYS,
    ),
    Entry(
        "email_changed",
        "account",
        "waiting",
        "The e-mail address of your account is changed; the mail goes to the address before.",
        "Your e-mail address was changed",
        "Since {at:when} your account signs in as {new} instead of {old}. If that was not you, answer to "
        "whoever runs this site at once.",
        "account_email",
        fixed=_ALWAYS,
    ),
    Entry(
        "ssh_key_added",
        "account",
        "information",
        "An SSH key is added to your account.",
        "SSH key added: {name}",
        "The key {name} ({fingerprint}) was added at {at:when}. Machines that you rent from now on let it in. "
        "If that was not you, remove it and change your password.",
        "ssh_keys",
        fixed=_ALWAYS,
    ),
    Entry(
        "api_key_made",
        "account",
        "information",
        "An API key is made for your account.",
        "API key made: {name}",
        "The key {name} (dck_{prefix}_…) was made at {at:when} and may do: {scopes}. If that was not you, "
        "revoke it and change your password.",
        "api_keys",
        fixed=_ALWAYS,
    ),
)
