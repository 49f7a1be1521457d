"""The clock's way to the mail."""

from __future__ import annotations

from celery import shared_task

from accounts import reconcile, services
from core import bus


@shared_task
def send_mail_due() -> None:
    with bus.alone("accounts.mail", seconds=300) as mine:
        if mine:
            reconcile.send_mail_due()


@shared_task
def forget_notices() -> None:
    services.forget_notices()
