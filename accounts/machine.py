"""What can become of the mail of a notice. Pure."""

from __future__ import annotations

from enum import StrEnum


class MailState(StrEnum):
    """`none`: nobody wants it; `due`: now or again later; `failed`: given up after the last attempt."""

    NONE = "none"
    DUE = "due"
    SENT = "sent"
    FAILED = "failed"
