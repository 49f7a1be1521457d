"""Encryption at rest for what users entrust to us (environment values, registry log-ins, host keys)."""

from __future__ import annotations

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])


def seal(plain: str) -> str:
    """Return `plain` encrypted with the newest key (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _cipher().encrypt(plain.encode()).decode()


def unseal(sealed: str) -> str:
    """Return the plain text of `sealed`; raises cryptography.fernet.InvalidToken if no key fits."""
    return _cipher().decrypt(sealed.encode()).decode()
