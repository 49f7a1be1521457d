"""People, the keys they log in to machines with, and the keys their programs call us with."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

from accounts.machine import MailState
from accounts.roles import Role
from core import clock
from core.ids import new_id

if TYPE_CHECKING:
    from accounts.actors import Actor


class UserQuerySet(models.QuerySet["User"]):
    def lock(self) -> Self:
        """Lock people, so that what one of them may have only so many of is counted by one at a time."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def lock(self) -> UserQuerySet:
        """Return people to be locked, see `UserQuerySet.lock`."""
        return self.get_queryset().lock()

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a person; the e-mail address is their name to us."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a member of staff who may do everything in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Signs in by e-mail."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=80, blank=True, default="")
    role = models.CharField(
        max_length=10, choices=[(r.value, r.value) for r in Role], default=Role.BOTH.value
    )
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=clock.now)
    # An IANA name such as Europe/Oslo, for instants in mail; empty: UTC.
    time_zone = models.CharField(max_length=64, blank=True, default="")

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=[r.value for r in Role]), name="user_role_known"
            ),
        ]

    def __str__(self) -> str:
        return self.email


class OwnedQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """The rows of this person."""
        return self.filter(user_id=actor.user_id)


class SshKey(models.Model):
    """A public key that a person logs in to rented machines with."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="ssh_keys")
    name = models.CharField(max_length=80)
    public_key = models.TextField()
    fingerprint = models.CharField(max_length=80)
    created_at = models.DateTimeField()

    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "fingerprint"], name="ssh_key_once_per_user"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint}"


class ApiKey(models.Model):
    """A key for programs: shown once, stored hashed, with scopes within its owner's permissions."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class NoticeQuerySet(OwnedQuerySet):
    def due(self, now: dt.datetime) -> Self:
        """Lock the mail that should go out by now and that nobody else is at, the longest due first."""
        waiting = self.filter(mail=MailState.DUE.value, mail_due_at__lte=now)
        return waiting.select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by(
            "mail_due_at", "pk"
        )


class Notice(models.Model):
    """One thing that one person is told, in the page (`shown`), by mail, or both.

    `key` names what happened: an event that is handled twice makes one notice. `params` are the fields of
    its sentences: texts, nano-units and epoch seconds. The mail is a queue of its own in these rows.
    """

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="notices")
    code = models.CharField(max_length=40)
    key = models.CharField(max_length=200)
    subject_id = models.UUIDField(null=True, blank=True)
    params = models.JSONField(default=dict)
    shown = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)
    # Where the mail goes; empty: to whatever the address of the person is then.
    mail_to = models.EmailField(blank=True, default="")
    mail = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in MailState], default=MailState.NONE.value
    )
    mail_due_at = models.DateTimeField(null=True, blank=True)
    mail_attempts = models.PositiveSmallIntegerField(default=0)
    mail_error = models.CharField(max_length=200, blank=True, default="")

    objects = NoticeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="notice_once"),
            models.CheckConstraint(
                condition=models.Q(mail__in=[s.value for s in MailState]), name="notice_mail_known"
            ),
        ]
        indexes = [
            # Serves the inbox, newest first, and the count of what is unread.
            models.Index(
                fields=["user", "-id"], name="notice_inbox", condition=models.Q(shown=True)
            ),
            models.Index(
                fields=["user"],
                name="notice_unread",
                condition=models.Q(shown=True, read_at=None),
            ),
            # Serves `due` and what forgets old rows.
            models.Index(
                fields=["mail_due_at"], name="notice_mail_due", condition=models.Q(mail="due")
            ),
            models.Index(fields=["created_at"], name="notice_age"),
        ]

    def __str__(self) -> str:
        return f"{self.code} #{self.pk}"


class NoticeChoice(models.Model):
    """What somebody chose of one channel of one code; without a row the catalogue's word holds."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="notice_choices")
    code = models.CharField(max_length=40)
    channel = models.CharField(max_length=10)
    on = models.BooleanField()

    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "code", "channel"], name="notice_choice_once"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.channel} {self.on}"


class SecretQuerySet(OwnedQuerySet):
    def lock(self) -> Self:
        """Lock secrets, so that two changes count as two versions."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class Secret(models.Model):
    """A value that its owner can replace and delete, and nobody can read: encrypted, joined only at send.

    With `registry_host` it is the password of `registry_user` at that registry.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=64)
    registry_host = models.CharField(max_length=200, blank=True, default="")
    registry_user = models.CharField(max_length=200, blank=True, default="")
    sealed = models.TextField()
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = SecretQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="secret_name_once_per_user"),
        ]

    def __str__(self) -> str:
        return self.name
