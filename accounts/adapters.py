"""allauth's doors into the services: who signs in, and what changes about how."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest

from accounts import services
from accounts.models import User

_NEW_PASSWORD = frozenset(
    f"account/email/{what}" for what in ("password_changed", "password_reset", "password_set")
)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is not typed
    """Tells people of what happens to their account through notices instead of mails of its own."""

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Sign a person in, and tell them when it is from somewhere new."""
        first = user.last_login is None
        super().login(request, user)
        assert isinstance(user, User)
        services.note_sign_in(
            user_id=user.pk,
            address=self.get_client_ip(request),
            agent=self.get_http_user_agent(request),
            first=first,
        )

    def send_notification_mail(
        self,
        template_prefix: str,
        user: AbstractBaseUser,
        context: dict[str, Any] | None = None,
        email: str | None = None,
    ) -> None:
        """Make a notice of what allauth would mail."""
        assert isinstance(user, User)
        if template_prefix in _NEW_PASSWORD:
            services.note_new_password(user_id=user.pk)
        elif template_prefix == "account/email/email_changed" and email:
            services.note_new_email(user_id=user.pk, old=email, new=user.email)
