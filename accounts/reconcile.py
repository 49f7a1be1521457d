"""Mail that is due goes out: by the clock, one by one, and a failing one holds up nobody else's.

It may be killed after any line: a mail that was sent and not written down is sent once more, with the same
Message-ID, so that readers show it once.
"""

from __future__ import annotations

import logging
import smtplib
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from accounts import services
from accounts.models import Notice
from accounts.notices import CATALOGUE, MAIL

log = logging.getLogger(__name__)

# As many as one run sends before it gives its place up.
MOST_A_RUN = 200


def send_mail_due(*, limit: int = MOST_A_RUN) -> int:
    """Send what is due over one connection; return how many went out."""
    sent = 0
    connection: Any = None
    for _ in range(limit):
        notice = services.claim_mail()
        if notice is None:
            break
        connection = connection or get_connection()
        error = _send(notice, connection)
        services.note_mail(notice_id=notice.pk, error=error)
        sent += not error
        if error:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return sent


def _send(notice: Notice, connection: Any) -> str:
    """Send one mail; return why it failed, nothing when it went out."""
    try:
        connection.open()
        message_of(notice, connection).send()
    except (smtplib.SMTPException, OSError, ValueError) as error:
        log.warning("mail of notice %s did not go out: %r", notice.pk, error)
        return repr(error)
    return ""


def _is_fixed(code: str) -> bool:
    entry = CATALOGUE.get(code)
    return entry is not None and MAIL in entry.fixed


def message_of(notice: Notice, connection: Any = None) -> EmailMultiAlternatives:
    """Return the mail of a notice: plain text and HTML, with the address of the page that it is about."""
    worded = services.word(notice, zone=notice.user.time_zone)
    origin = settings.DC.public_url.rstrip("/")
    context = {
        "worded": worded,
        "link": origin + worded.path,
        "choices": f"{origin}/notifications/choices/",
        "fixed": _is_fixed(notice.code),
        "site": urlsplit(origin).hostname,
    }
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    message = EmailMultiAlternatives(
        subject=worded.title,
        body=render_to_string("mail/notice.txt", context),
        to=[notice.mail_to or notice.user.email],
        headers={
            "Message-ID": f"<notice-{notice.pk}@{sender.rpartition('@')[2]}>",
            "Auto-Submitted": "auto-generated",
        },
        connection=connection,
    )
    message.attach_alternative(render_to_string("mail/notice.html", context), "text/html")
    return message
