"""What people do with their own account and its keys, and who a request comes from."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts.actors import Actor
from accounts.models import ApiKey, SshKey, User
from accounts.roles import PERMISSIONS, STAFF, Role
from accounts.services.notifying import notify
from audit import services as audit
from core import clock
from core.errors import Conflict, Invalid, NotFound, Unauthenticated

MAX_SSH_KEYS = 50
MAX_SSH_KEY_CHARS = 16_384
# What OpenSSH's server lets in; certificates and DSA are not among them.
SSH_KEY_KINDS = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
MIN_RSA_BITS = 2048
MAX_API_KEYS = 50
# How stale `last_used_at` may be, so that a busy key does not write a row a request.
USED_RESOLUTION = dt.timedelta(minutes=1)


def actor_of(user: User, scopes: list[str] | None = None) -> Actor:
    """Return who this person is to the services; `scopes` of an API key can only narrow it."""
    permissions = STAFF if user.is_staff else PERMISSIONS[Role(user.role)]
    if scopes is not None:
        permissions = permissions & frozenset(scopes)
    kind = "staff" if user.is_staff and scopes is None else "user"
    return Actor(kind, str(user.pk), user.name or user.email, permissions)


def actor_of_request(request: HttpRequest) -> Actor:
    """Return who a page request comes from; raises Unauthenticated `auth_required`."""
    if not isinstance(request.user, User):
        raise Unauthenticated("auth_required", "Sign in first.")
    return actor_of(request.user)


@transaction.atomic
def create_user(
    *, email: str, password: str | None, role: str = "BOTH", name: str = "", is_staff: bool = False
) -> User:
    """Make a person. Sign-up through the pages is allauth's; this is for commands and tests."""
    return User.objects.create_user(
        email, password, role=Role(role).value, name=name, is_staff=is_staff, is_superuser=is_staff
    )


def email_of(*, user_id: uuid.UUID) -> str:
    """Return a person's address for mail."""
    return User.objects.values_list("email", flat=True).get(pk=user_id)


def ssh_keys_of(*, actor: Actor) -> list[SshKey]:
    """Return the actor's own SSH keys, oldest first."""
    return list(SshKey.objects.visible_to(actor).order_by("created_at"))


@transaction.atomic
def add_ssh_key(*, actor: Actor, name: str, public_key: str) -> SshKey:
    """Add an SSH public key (one line in OpenSSH's format).

    Raises Invalid `ssh_key_private`, `ssh_key_unreadable`, `ssh_key_weak`, Conflict `ssh_key_duplicate`,
    `ssh_key_limit`.
    """
    actor.require("ssh_key:manage")
    line = _one_public_key(public_key)
    blob = base64.b64decode(line.split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    # One at a time, or two that count at once both fit.
    User.objects.lock().get(pk=actor.user_id)
    if SshKey.objects.visible_to(actor).count() >= MAX_SSH_KEYS:
        raise Conflict("ssh_key_limit", f"You have {MAX_SSH_KEYS} keys. Remove one first.")
    try:
        with transaction.atomic():
            key = SshKey.objects.create(
                user_id=actor.user_id,
                name=name.strip()[:80] or "key",
                public_key=line,
                fingerprint=f"SHA256:{digest}",
                created_at=clock.now(),
            )
    except IntegrityError as error:
        raise Conflict("ssh_key_duplicate", "You have added this key already.") from error
    audit.record(
        actor=actor,
        verb="ssh_key.added",
        subject_type="ssh_key",
        subject_id=key.pk,
        data={"fingerprint": key.fingerprint},
    )
    notify(
        user_id=actor.user_id,
        code="ssh_key_added",
        key=str(key.pk),
        params={
            "name": key.name,
            "fingerprint": key.fingerprint,
            "at": clock.to_epoch(key.created_at),
        },
    )
    return key


def _one_public_key(text: str) -> str:
    """Return `type base64 comment` of a pasted key, or refuse it."""
    pasted = text.strip()
    if "PRIVATE KEY" in pasted:
        raise Invalid(
            "ssh_key_private",
            "We could not add this key: it is a private key. Paste the line from the `.pub` file.",
        )
    if len(pasted) > MAX_SSH_KEY_CHARS or not pasted.isprintable() or len(pasted.split()) < 2:
        raise _unreadable()
    kind, blob, *comment = pasted.split()
    if kind not in SSH_KEY_KINDS:
        raise _unreadable()
    try:
        # Strictly: a reader that skips strange signs would let a line in that no SSH server reads.
        base64.b64decode(blob, validate=True)
        key = load_ssh_public_key(f"{kind} {blob}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable() from error
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise Invalid(
            "ssh_key_weak",
            f"This RSA key has {key.key_size} bits; SSH servers refuse fewer than {MIN_RSA_BITS}. "
            "Make another with `ssh-keygen -t ed25519`.",
        )
    return " ".join([kind, blob, *comment])


def _unreadable() -> Invalid:
    return Invalid(
        "ssh_key_unreadable",
        "This is not an SSH public key. Paste one line that starts with ssh-ed25519, "
        "ecdsa-sha2-… or ssh-rsa.",
    )


@transaction.atomic
def remove_ssh_key(*, actor: Actor, key_id: uuid.UUID) -> None:
    """Forget an SSH key; machines that run already keep it until they stop. Raises NotFound."""
    actor.require("ssh_key:manage")
    key = SshKey.objects.visible_to(actor).filter(pk=key_id).first()
    if key is None:
        raise NotFound("ssh_key_unknown", "You have no such SSH key.")
    key.delete()
    audit.record(
        actor=actor,
        verb="ssh_key.removed",
        subject_type="ssh_key",
        subject_id=key_id,
        data={"fingerprint": key.fingerprint},
    )


@transaction.atomic
def create_api_key(
    *, actor: Actor, name: str, scopes: list[str] | None = None
) -> tuple[ApiKey, str]:
    """Make an API key; the plain text is returned once. `scopes` default to all the actor may do.

    Raises Invalid `scope_unknown`, Conflict `api_key_limit`.
    """
    actor.require("api_key:manage")
    wanted = sorted(actor.permissions - {"staff", "*"}) if scopes is None else sorted(set(scopes))
    beyond = [scope for scope in wanted if not actor.may(scope)]
    if beyond:
        raise Invalid("scope_unknown", f"This account has no permission {beyond[0]}.")
    _require_room_for_an_api_key(actor)
    prefix = secrets.token_hex(5)
    plain = f"dck_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        user_id=actor.user_id,
        name=name.strip()[:80] or "key",
        prefix=prefix,
        digest=hashlib.sha256(plain.encode()).hexdigest(),
        scopes=wanted,
        created_at=clock.now(),
    )
    audit.record(
        actor=actor,
        verb="api_key.created",
        subject_type="api_key",
        subject_id=key.pk,
        data={"prefix": prefix, "scopes": wanted},
    )
    notify(
        user_id=actor.user_id,
        code="api_key_made",
        key=str(key.pk),
        params={
            "name": key.name,
            "prefix": prefix,
            "scopes": ", ".join(wanted) or "nothing",
            "at": clock.to_epoch(key.created_at),
        },
    )
    return key, plain


def _require_room_for_an_api_key(actor: Actor) -> None:
    # One at a time, or two that count at once both fit.
    User.objects.lock().get(pk=actor.user_id)
    if ApiKey.objects.visible_to(actor).filter(revoked_at=None).count() >= MAX_API_KEYS:
        raise Conflict("api_key_limit", f"You have {MAX_API_KEYS} keys. Revoke one first.")


@transaction.atomic
def revoke_api_key(*, actor: Actor, key_id: uuid.UUID) -> None:
    """Make an API key useless from now on. Raises NotFound."""
    actor.require("api_key:manage")
    key = ApiKey.objects.visible_to(actor).filter(pk=key_id).first()
    if key is None:
        raise NotFound("api_key_unknown", "You have no such API key.")
    if key.revoked_at is None:
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=clock.now())
        audit.record(
            actor=actor, verb="api_key.revoked", subject_type="api_key", subject_id=key.pk, data={}
        )


def authenticate_api_key(plain: str) -> tuple[User, list[str]]:
    """Return the owner and the scopes of a plain API key; raises Unauthenticated `api_key_wrong`."""
    parts = plain.split("_", 2)
    prefix = parts[1] if len(parts) == 3 and parts[0] == "dck" else ""
    key = ApiKey.objects.select_related("user").filter(prefix=prefix, revoked_at=None).first()
    digest = hashlib.sha256(plain.encode()).hexdigest()
    if key is None or not hmac.compare_digest(key.digest, digest) or not key.user.is_active:
        raise Unauthenticated("api_key_wrong", "This API key is not valid. Make a new one.")
    now = clock.now()
    if key.last_used_at is None or now - key.last_used_at > USED_RESOLUTION:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    user: Any = key.user
    return user, list(key.scopes)
