"""What people are told about who uses their account."""

from __future__ import annotations

import hashlib
import ipaddress
import uuid

from django.db import transaction

from accounts.services.notifying import notify
from core import clock

_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"), ("curl/", "curl"), ("python", "Python"))  # fmt: skip
_SYSTEMS = (("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"),
            ("Mac OS", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"))  # fmt: skip


@transaction.atomic
def note_sign_in(*, user_id: uuid.UUID, address: str, agent: str, first: bool) -> None:
    """Tell a person that their account was signed in to, once for each browser and network.

    Args:
        address: where from; networks count, not single addresses.
        agent: what the browser says of itself.
        first: whether it is the very first time: then it is known from now on, and told to nobody.
    """
    browser = _name_of(agent)
    seen = hashlib.sha256(f"{browser} {_network_of(address)}".encode()).hexdigest()[:32]
    notify(
        user_id=user_id,
        code="sign_in_new",
        key=seen,
        silent=first,
        params={"at": clock.epoch(), "browser": browser, "address": address},
    )


@transaction.atomic
def note_new_password(*, user_id: uuid.UUID) -> None:
    """Tell a person that their password is another one now."""
    at = clock.now()
    params = {"at": clock.to_epoch(at)}
    notify(user_id=user_id, code="password_changed", key=at.isoformat(), params=params)


@transaction.atomic
def note_new_email(*, user_id: uuid.UUID, old: str, new: str) -> None:
    """Tell a person, at the address before, that their account has another one now."""
    at = clock.now()
    notify(
        user_id=user_id,
        code="email_changed",
        key=at.isoformat(),
        mail_to=old,
        params={"at": clock.to_epoch(at), "old": old, "new": new},
    )


def _name_of(agent: str) -> str:
    browser = next((name for sign, name in _BROWSERS if sign in agent), "an unknown browser")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return f"{browser} on {system}" if system else browser


def _network_of(address: str) -> str:
    try:
        bits = 24 if ipaddress.ip_address(address).version == 4 else 48
        return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        return address
