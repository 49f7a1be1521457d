"""What of a template a rent changes, and which of the renter's secrets go into it: by id, never by value."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from accounts import vault
from accounts.actors import Actor
from accounts.models import Secret
from core.errors import Conflict, Invalid
from nodes.models import Workload
from rentals.launch import Launch, check_variables, check_words
from rentals.models import Quote, Rental
from rentals.registry import Login, RegistryTrouble, may_be_asked
from rentals.registry.references import HUB, HUB_NAMES, read_reference


@dataclass(frozen=True)
class Changes:
    """What a renter changes in a template's launch for one rental.

    `env` and `secrets` are added, and take the place of variables of the same name; None for `command`:
    the template's.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict)
    command: list[str] | None = None
    # Names of own secrets that somebody else's template may have.
    agreed: list[str] = field(default_factory=list)

    def told(self) -> list[Any]:
        """Return the changes as JSON's own types, in one order."""
        told = [sorted(self.env.items()), sorted(self.secrets.items()), self.command]
        return [*told, sorted(self.agreed)]


def changed(launch: Launch, changes: Changes) -> Launch:
    """Return the launch of one rental. Raises Invalid as `rentals.launch.check_launch` does."""
    named = changes.env.keys() | changes.secrets.keys()
    env = {name: value for name, value in launch.env.items() if name not in named}
    secrets = {name: secret for name, secret in launch.secrets.items() if name not in named}
    # What is named twice in the changes themselves is a mistake, and found here.
    check_variables(changes.env, changes.secrets)
    env, secrets = {**env, **changes.env}, {**secrets, **changes.secrets}
    check_variables(env, secrets)
    check_words(changes.command)
    command = launch.command if changes.command is None else changes.command
    return msgspec.structs.replace(launch, env=env, secrets=secrets, command=command)


def secrets_read(launch: Launch) -> list[str]:
    """Return the names of the renter's secrets that a launch takes, its log-in included, in order."""
    login = [launch.registry_login] if launch.registry_login else []
    return sorted({*launch.secrets.values(), *login})


def is_strangers(quote: Quote) -> bool:
    """Tell whether the template of a quote is neither its renter's own nor the platform's."""
    return quote.version.template.owner_id not in {None, quote.user_id}


def secrets_to_agree(quote: Quote) -> list[str]:
    """Return which of the renter's secrets a rent must name, because a stranger's template reads them."""
    return secrets_read(quote.version.spec) if is_strangers(quote) else []


def require_consent(launch: Launch, changes: Changes) -> None:
    """Raise Conflict `secrets_unconfirmed` unless the renter has named each secret that a stranger's template takes."""
    named = {*changes.agreed, *changes.secrets.values()}
    if missing := [name for name in secrets_read(launch) if name not in named]:
        raise Conflict(
            "secrets_unconfirmed",
            f"This template is somebody else's and would read your {', '.join(missing)}. If you trust it "
            "with that, rent again and name it in `agreed_secrets`; nothing was charged.",
            secrets=missing,
        )


def require_outside(image: str) -> None:
    """Raise Invalid `template_image_host` when an image's registry is inside of somebody's network.

    A machine's engine downloads beside whatever else its network holds, so people may send it to the world only.
    Asks nobody: where a name leads the pre-flight sees.
    """
    try:
        good = may_be_asked(image)
    except RegistryTrouble as error:
        raise Invalid("template_image", error.message) from error
    if not good:
        raise Invalid(
            "template_image_host",
            f"{image} names a registry that is not on the open internet; machines are not sent there. Put the "
            "image into one that is, with a log-in if it is private; who runs this platform can allow another "
            "(DC_TRUSTED_REGISTRIES).",
        )


def take_secrets(actor: Actor, launch: Launch) -> dict[str, Any]:
    """Return the ids of the actor's secrets that a launch names, for the workload's spec.

    Raises Invalid `secret_missing`, `secret_kind`, `registry_login_host`; Conflict `secret_gone`.
    """
    if not launch.secrets and not launch.registry_login:
        return {}
    found, login = vault.find_secrets(
        actor=actor, names=launch.secrets, login=launch.registry_login
    )
    ids = list(found.values())
    if login is not None:
        host = read_reference(launch.image).host
        if _host_of(login) != host:
            raise Invalid(
                "registry_login_host",
                f"The log-in {login.name} is for {login.registry_host}, and the image is at {host}. "
                "A password goes to its own registry only.",
            )
        ids.append(login.pk)
    vault.use_secrets(ids=ids)
    taken: dict[str, Any] = {"secret_ids": {name: str(pk) for name, pk in found.items()}}
    return {**taken, "login_id": str(login.pk)} if login is not None else taken


def login_of(*, actor: Actor, image: str, name: str) -> Login | None:
    """Return the actor's log-in of this name for asking the image's registry; None when none is named or fits."""
    try:
        _, secret = vault.find_secrets(actor=actor, names={}, login=name or None)
        host = read_reference(image).host
    except (Invalid, RegistryTrouble):
        # The registry's own answer, or the check of the image's name, says what is missing.
        return None
    if secret is None or _host_of(secret) != host:
        return None
    known = vault.reveal_login(secret.pk)
    return None if known is None else Login(known.user, known.password)


def _host_of(login: Secret) -> str:
    """Return the host that a log-in is for, as references of images spell it."""
    host = login.registry_host.lower()
    return HUB if host in HUB_NAMES else host


def use_secrets_of(rental: Rental) -> None:
    """Note that a rental starts again with its secrets. Raises Conflict `secret_gone` when one is deleted."""
    spec = Workload.objects.values_list("spec", flat=True).get(pk=rental.workload_id)
    ids = [uuid.UUID(text) for text in (spec.get("secret_ids") or {}).values()]
    if spec.get("login_id"):
        ids.append(uuid.UUID(spec["login_id"]))
    if ids:
        vault.use_secrets(ids=ids)
