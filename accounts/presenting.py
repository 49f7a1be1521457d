"""Notices for pages and the API."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from accounts import services
from accounts.models import Notice, User
from accounts.notices import AUDIENCES, CHANNELS
from accounts.services import Chosen, Worded
from core.errors import Invalid

MOST_DIGITS = 18


def bell(request: HttpRequest) -> dict[str, Any]:
    """Give every page the number of what its reader has not read, counted only where it is shown."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {}
    return {"unread": lambda: services.unread_count(user_id=user.pk)}


def notice_out(notice: Notice, zone: str) -> dict[str, Any]:
    """Return a notice as the API tells it."""
    worded = services.word(notice, zone=zone)
    return {
        "id": str(notice.pk),
        "code": notice.code,
        "title": worded.title,
        "body": worded.body,
        "tone": worded.tone,
        "path": worded.path,
        "subject_id": notice.subject_id and str(notice.subject_id),
        "params": notice.params,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }


def rows_of(notices: list[Notice], zone: str) -> list[tuple[Notice, Worded]]:
    """Return notices with their words."""
    return [(notice, services.word(notice, zone=zone)) for notice in notices]


def chosen_out(chosen: Chosen) -> dict[str, Any]:
    """Return one row of switches as the API tells it."""
    entry = chosen.entry
    return {
        "code": entry.code,
        "audience": entry.audience,
        "when": entry.when,
        "channels": {
            channel: {"on": chosen.channels[channel], "fixed": channel in entry.fixed}
            for channel in CHANNELS
        },
    }


def groups_of(rows: list[Chosen]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the rows of switches under their headings."""
    return [
        (heading, [chosen_out(row) for row in rows if row.entry.audience == audience])
        for audience, heading in AUDIENCES.items()
        if any(row.entry.audience == audience for row in rows)
    ]


def cursor_from(given: str | None) -> int | None:
    """Return the id of a notice that a page ended with. Raises Invalid `cursor_invalid`."""
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS):
        raise Invalid("cursor_invalid", "Take `before` and `until` from an answer before this one.")
    return int(given)
