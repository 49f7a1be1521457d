"""Which mail is due, and what has become of it. What sends it is `accounts.reconcile`."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.machine import MailState
from accounts.models import Notice
from core import clock

# How long a claimed mail is left alone; a sender that died meanwhile is followed by another after this.
CLAIM = dt.timedelta(minutes=5)
FIRST_PAUSE = 30
LONGEST_PAUSE = 3600


@transaction.atomic
def claim_mail() -> Notice | None:
    """Return the mail that is due the longest, for this caller alone for a while; None when there is none."""
    now = clock.now()
    notice = Notice.objects.due(now).select_related("user").first()
    if notice is None:
        return None
    notice.mail_attempts = F("mail_attempts") + 1
    notice.mail_due_at = now + CLAIM
    notice.save(update_fields=["mail_attempts", "mail_due_at"])
    notice.refresh_from_db(fields=["mail_attempts"])
    claimed: Notice = notice
    return claimed


@transaction.atomic
def note_mail(*, notice_id: int, error: str = "") -> None:
    """Write down that a claimed mail was sent, or why not: then it is due again later, or given up.

    The pause after the n-th failure is 30 s x 2^(n-1), at most an hour; after `DC_MAIL_ATTEMPTS` it is `failed`.
    """
    notice = Notice.objects.get(pk=notice_id)
    if not error:
        notice.mail, notice.mail_due_at = MailState.SENT.value, None
    elif notice.mail_attempts >= settings.DC.mail_attempts:
        notice.mail, notice.mail_due_at = MailState.FAILED.value, None
    else:
        pause = min(FIRST_PAUSE * 2 ** (notice.mail_attempts - 1), LONGEST_PAUSE)
        notice.mail_due_at = clock.now() + dt.timedelta(seconds=pause)
    notice.mail_error = error[:200]
    notice.save(update_fields=["mail", "mail_due_at", "mail_error"])
