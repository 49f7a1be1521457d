"""What people entrust to us, write-only: values for their containers and log-ins of registries.

A value goes in here and out of here only by `reveal`, which the gateway calls for the wire; everything else
(rentals, workloads, events, audit, API) knows ids, names and versions.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from accounts.actors import Actor
from accounts.models import Secret, User
from audit import services as audit
from core import clock, secrets
from core.errors import Conflict, Invalid, NotFound

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,190}[a-z0-9])?(:[0-9]{1,5})?")
MAX_SECRETS = 200
MAX_VALUE_CHARS = 16_384
MAX_USER_CHARS = 200


@dataclass(frozen=True)
class Login:
    """How to log in to a registry; for the wire only, so it does not print its password."""

    host: str
    user: str
    password: str = field(repr=False)


def secrets_of(*, actor: Actor) -> list[Secret]:
    """Return the actor's own secrets by name; their values stay where they are."""
    actor.require("secret:manage")
    return list(Secret.objects.visible_to(actor).defer("sealed").order_by("name"))


@sensitive_variables("value")
@transaction.atomic
def create_secret(
    *, actor: Actor, name: str, value: str, registry_host: str = "", registry_user: str = ""
) -> Secret:
    """Take a value that is never shown again; with host and user it is a registry's log-in.

    Raises Invalid `secret_name`, `secret_value`, `secret_registry`; Conflict `secret_name_taken`,
    `secret_limit`.
    """
    actor.require("secret:manage")
    if not NAME.fullmatch(name):
        raise Invalid(
            "secret_name",
            "A secret's name has letters, digits, dots, dashes and _, at most 64, and begins with "
            "a letter or a digit.",
        )
    _check_value(value)
    _check_registry(registry_host, registry_user)
    # One at a time, or two that count at once both fit.
    User.objects.lock().get(pk=actor.user_id)
    if Secret.objects.visible_to(actor).count() >= MAX_SECRETS:
        raise Conflict("secret_limit", f"You have {MAX_SECRETS} secrets. Delete one first.")
    now = clock.now()
    try:
        with transaction.atomic():
            secret = Secret.objects.create(
                user_id=actor.user_id,
                name=name,
                registry_host=registry_host,
                registry_user=registry_user,
                sealed=secrets.seal(value),
                created_at=now,
                changed_at=now,
            )
    except IntegrityError as error:
        raise Conflict(
            "secret_name_taken", f"You have a secret called {name}. Give it a new value instead."
        ) from error
    _record(actor, secret, "secret.created")
    return secret


@sensitive_variables("value")
@transaction.atomic
def rotate_secret(*, actor: Actor, secret_id: uuid.UUID, value: str) -> Secret:
    """Give a secret another value; containers get it at their next start. Raises as `create_secret` does."""
    secret = _mine(actor, secret_id)
    _check_value(value)
    secret.sealed, secret.version, secret.changed_at = (
        secrets.seal(value),
        secret.version + 1,
        clock.now(),
    )
    secret.save(update_fields=["sealed", "version", "changed_at"])
    _record(actor, secret, "secret.rotated")
    return secret


@transaction.atomic
def delete_secret(*, actor: Actor, secret_id: uuid.UUID) -> None:
    """Forget a value for ever. What runs keeps it; what refers to it cannot start again."""
    secret = _mine(actor, secret_id)
    _record(actor, secret, "secret.deleted")
    secret.delete()


def find_secrets(
    *, actor: Actor, names: Mapping[str, str], login: str | None = None
) -> tuple[dict[str, uuid.UUID], Secret | None]:
    """Return ({variable: secret id}, the log-in) for the actor's own secrets of these names.

    Raises Invalid `secret_missing`, `secret_kind` naming what is wrong. What somebody starts can read its secrets
    and send them anywhere, so whoever names one needs the scope of whoever uses it: Forbidden without.
    """
    if (names or login) and not actor.may("secret:manage"):
        actor.require("secret:use")
    mine = {secret.name: secret for secret in Secret.objects.visible_to(actor).defer("sealed")}
    wanted = {*names.values(), *([login] if login else [])}
    if missing := sorted(wanted - mine.keys()):
        raise Invalid(
            "secret_missing",
            f"You have no secret called {missing[0]}. Add it, then try again; nothing was charged.",
            missing=missing,
        )
    if login and not mine[login].registry_host:
        raise Invalid(
            "secret_kind", f"The secret {login} is a value, not the log-in of a registry."
        )
    if login_as_value := sorted(name for name in names.values() if mine[name].registry_host):
        raise Invalid(
            "secret_kind",
            f"The secret {login_as_value[0]} is the log-in of a registry; a variable needs a value.",
        )
    found = {variable: mine[name].pk for variable, name in names.items()}
    return found, mine[login] if login else None


def use_secrets(*, ids: Collection[uuid.UUID]) -> None:
    """Note that something starts with these secrets, in its transaction. Raises Conflict `secret_gone`."""
    wanted = set(ids)
    locked = [secret.pk for secret in Secret.objects.defer("sealed").lock().filter(pk__in=wanted)]
    Secret.objects.filter(pk__in=locked).update(last_used_at=clock.now())
    if len(locked) < len(wanted):
        raise Conflict(
            "secret_gone",
            "A secret that this starts with has been deleted, so it cannot start again as it is. "
            "What is on its disk is kept. Nothing was charged.",
        )


def reveal(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the values of those that still exist. For the wire to the machine, and nothing else."""
    found = Secret.objects.filter(pk__in=set(ids)).values_list("pk", "sealed")
    return {pk: secrets.unseal(sealed) for pk, sealed in found}


def reveal_login(secret_id: uuid.UUID) -> Login | None:
    """Return a registry's log-in, None when it has been deleted. For the wire and for asking the registry."""
    found = Secret.objects.filter(pk=secret_id).first()
    if found is None:
        return None
    return Login(found.registry_host, found.registry_user, secrets.unseal(found.sealed))


def _mine(actor: Actor, secret_id: uuid.UUID) -> Secret:
    actor.require("secret:manage")
    secret: Secret | None = Secret.objects.visible_to(actor).lock().filter(pk=secret_id).first()
    if secret is None:
        raise NotFound("secret_unknown", "You have no such secret.")
    return secret


@sensitive_variables("value")
def _check_value(value: str) -> None:
    halves = any("\ud800" <= sign <= "\udfff" for sign in value)
    if not 1 <= len(value) <= MAX_VALUE_CHARS or "\x00" in value or halves:
        raise Invalid(
            "secret_value", f"A value has 1 to {MAX_VALUE_CHARS} characters and no NUL among them."
        )


def _check_registry(host: str, user: str) -> None:
    if not host and not user:
        return
    if not HOST.fullmatch(host) or not 1 <= len(user) <= MAX_USER_CHARS or not user.isprintable():
        raise Invalid(
            "secret_registry",
            "The log-in of a registry has its host as images name it (ghcr.example or host:5000) "
            "and a user.",
        )


def _record(actor: Actor, secret: Secret, verb: str) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="secret",
        subject_id=secret.pk,
        data={"name": secret.name, "version": secret.version},
    )
