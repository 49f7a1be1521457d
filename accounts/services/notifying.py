"""Telling people things: one notice for each thing that happened, through the channels they chose."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from accounts.events import NoticesChanged
from accounts.machine import MailState
from accounts.models import Notice, NoticeChoice, OwnedQuerySet, User
from accounts.notices import CATALOGUE, CHANNELS, Entry, is_on
from core import clock, outbox
from core.errors import NotFound

MOST_OF_A_PARAM = 500
PAGE_ROWS = 50
# More than can be counted at a glance.
MOST_UNREAD = 99


@transaction.atomic
def notify(
    *,
    user_id: uuid.UUID,
    code: str,
    key: str,
    params: Mapping[str, str | int],
    subject_id: uuid.UUID | None = None,
    mail_to: str = "",
    silent: bool = False,
) -> None:
    """Tell a person something, once for each `key` (what happened, and when).

    For handlers and for what happens to the account itself; never while wallets are locked. `params` are
    the fields of the catalogue's sentences. Harmless when told before, or when every channel is off.
    `silent`: it counts as told and is not.
    """
    entry = CATALOGUE[code]
    missing = entry.fields - params.keys()
    if missing or (entry.subject and subject_id is None):
        raise ValueError(f"{code} cannot be said without {sorted(missing) or 'its subject'}")
    choices = NoticeChoice.objects.filter(user_id=user_id, code=code)
    chosen = dict(choices.values_list("channel", "on"))
    page, mail = (not silent and is_on(entry, channel, chosen.get(channel)) for channel in CHANNELS)
    if not (page or mail or silent) or not User.objects.filter(pk=user_id, is_active=True).exists():
        return
    mail = mail and not _said_lately(entry, user_id, subject_id)
    now = clock.now()
    made = Notice(
        user_id=user_id,
        code=code,
        key=f"{code}:{key}"[:200],
        subject_id=subject_id,
        params={name: _plain(value) for name, value in params.items()},
        shown=page,
        created_at=now,
        mail_to=mail_to,
        mail=(MailState.DUE if mail else MailState.NONE).value,
        mail_due_at=now if mail else None,
    )
    if Notice.objects.filter(user_id=user_id, key=made.key).exists():
        return
    Notice.objects.bulk_create([made], ignore_conflicts=True)
    if page:
        outbox.publish(NoticesChanged(user_id=str(user_id)))


def _plain(value: str | int) -> str | int:
    """Return a text on one line, of visible signs, and of a length that a sentence bears."""
    if isinstance(value, int):
        return value
    line = re.sub(r"\s+", " ", value)
    return "".join(sign for sign in line if sign.isprintable())[:MOST_OF_A_PARAM]


def _said_lately(entry: Entry, user_id: uuid.UUID, subject_id: uuid.UUID | None) -> bool:
    if not entry.quiet:
        return False
    since = clock.now() - dt.timedelta(seconds=entry.quiet)
    mailed = Notice.objects.filter(
        user_id=user_id, code=entry.code, subject_id=subject_id, created_at__gte=since
    )
    return bool(mailed.exclude(mail=MailState.NONE.value).exists())


@dataclass(frozen=True)
class Inbox:
    """A page of notices, newest first; `next_before` starts the page after it, None: no more."""

    rows: list[Notice]
    next_before: int | None
    unread: int


def inbox_of(*, actor: Actor, before: int | None = None, limit: int = PAGE_ROWS) -> Inbox:
    """Return the notices of the actor that are older than the notice `before`."""
    actor.require("notice:manage")
    mine = Notice.objects.visible_to(actor).filter(shown=True)
    older = mine if before is None else mine.filter(pk__lt=before)
    rows = list(older.order_by("-id")[: limit + 1])
    more = rows[limit - 1].pk if len(rows) > limit else None
    return Inbox(rows[:limit], more, unread_count(user_id=actor.user_id))


def unread_count(*, user_id: uuid.UUID) -> int:
    """Return how many notices a person has not read, at most one more than is worth counting."""
    unread = Notice.objects.filter(user_id=user_id, shown=True, read_at=None)
    return int(unread[: MOST_UNREAD + 1].count())


@transaction.atomic
def read_notice(*, actor: Actor, notice_id: int) -> Notice:
    """Say that a notice was read. Raises NotFound `notice_unknown`."""
    actor.require("notice:manage")
    found = Notice.objects.visible_to(actor).filter(pk=notice_id, shown=True).first()
    if found is None:
        raise NotFound("notice_unknown", "You have no such notification.")
    _read(Notice.objects.filter(pk=found.pk), actor)
    found.refresh_from_db()
    notice: Notice = found
    return notice


@transaction.atomic
def read_notices(*, actor: Actor, until: int | None = None) -> int:
    """Say that every notice up to and with `until` (all) was read; return how many were new."""
    actor.require("notice:manage")
    mine = Notice.objects.visible_to(actor).filter(shown=True)
    return _read(mine if until is None else mine.filter(pk__lte=until), actor)


def _read(mine: OwnedQuerySet, actor: Actor) -> int:
    fresh = mine.filter(read_at=None).update(read_at=clock.now())
    if fresh:
        outbox.publish(NoticesChanged(user_id=str(actor.user_id)))
    return fresh


@transaction.atomic
def forget_notices() -> int:
    """Delete notices that are older than `DC_NOTICE_DAYS`; return how many."""
    edge = clock.now() - dt.timedelta(days=settings.DC.notice_days)
    return int(Notice.objects.filter(created_at__lt=edge).delete()[0])
