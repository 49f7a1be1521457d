"""What a template starts, as one document: read strictly, written canonically, read back the same. Pure.

A launch holds no secret value: `secrets` says which variable comes from which secret of whoever rents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from core.errors import Invalid

FORMAT: Literal["dcompute-template-1"] = "dcompute-template-1"
MAX_NAME, MAX_DESCRIPTION, MAX_README = 80, 400, 20_000
MAX_IMAGE = 500
MAX_WORDS, MAX_WORD_CHARS, MAX_WORDS_CHARS = 128, 8192, 16_384
MAX_VARIABLES, MAX_VALUE_CHARS, MAX_ENV_CHARS = 100, 8192, 32_768
MAX_SECRETS = 32
MAX_SCRIPT_CHARS = 16_384
MAX_PORTS, MAX_LABEL = 20, 40
MAX_DISK_GB = 100_000
MAX_NUMBER = 2**31 - 1

_ALNUM = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
# A host has a dot or a port or is localhost; any other first part is one of the path, and those have no capitals.
_HOST = (
    rf"(?:{_LABEL}(?:\.{_LABEL})+(?::[0-9]{{1,5}})?|{_LABEL}:[0-9]{{1,5}}|localhost"
    r"|\[[0-9a-fA-F:]{2,45}\](?::[0-9]{1,5})?)"
)
IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_ALNUM}(?:/{_ALNUM})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@sha256:[0-9a-f]{64})?"
)
# What an engine could take for the id of an image that somebody else has left on the machine.
IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{6,64}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SSH_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
# Names that reach for GPUs of others or hook the runtime; an agent would not pass them on.
RESERVED_ENV = ("NVIDIA_", "LD_PRELOAD", "LD_LIBRARY_PATH")


V = TypeVar("V")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value of the document: a field that nobody knows is a mistake, not a wish to be ignored."""


class Port(_Strict, frozen=True, kw_only=True):
    """A port of the container that gets a public one."""

    port: int
    label: str = ""
    kind: Literal["http", "tcp"] = "tcp"


class Minimum(_Strict, frozen=True, kw_only=True):
    """What the hardware must have at least; 0 asks for nothing. Units as in docs/offer-fields.md.

    `vram_mib` is of one card, `cuda` in hundredths (12.4 is 1240); the rest is of what is rented.
    """

    gpus: int = 0
    vram_mib: int = 0
    cuda: int = 0
    cpu_cores: int = 0
    memory_mib: int = 0


class Launch(_Strict, frozen=True, kw_only=True):
    """Everything that a container is started from. None for `entrypoint`, `command`: the image's own."""

    image: str
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    registry_login: str | None = None
    ports: list[Port] = []
    ssh_port: int = 22
    ssh_user: str = "root"
    disk_gb: int = 10
    min_disk_gb: int = 1
    start_script: str = ""
    minimum: Minimum = Minimum()


class Document(_Strict, frozen=True, kw_only=True):
    """A whole template, to keep in a file and to make it again from."""

    name: str
    launch: Launch
    format: Literal["dcompute-template-1"] = FORMAT
    slug: str = ""
    description: str = ""
    readme: str = ""


def read_document(told: object) -> Document:
    """Return the document that somebody sent. Raises Invalid with a code that names the part:

    `template_unreadable` (shape), `template_name`, `template_slug`, `template_readme`, and what
    `check_launch` raises.
    """
    document = _read(told, Document)
    if not 1 <= len(document.name) <= MAX_NAME or not _is_line(document.name):
        raise Invalid(
            "template_name", f"Give it a name of 1 to {MAX_NAME} characters, on one line."
        )
    if document.slug and (len(document.slug) > 60 or not SLUG.fullmatch(document.slug)):
        raise Invalid(
            "template_slug", "A slug has small letters, digits and single dashes, at most 60."
        )
    if len(document.description) > MAX_DESCRIPTION or not _is_line(document.description):
        raise Invalid(
            "template_description",
            f"A description has at most {MAX_DESCRIPTION} characters, on one line.",
        )
    if len(document.readme) > MAX_README or not _storable(document.readme):
        raise Invalid("template_readme", f"A readme has at most {MAX_README} characters.")
    check_launch(document.launch)
    return document


def read_launch(told: object) -> Launch:
    """Return the launch that is kept as JSON; it was checked when it was written."""
    return _read(told, Launch)


def as_json(value: Document | Launch) -> dict[str, Any]:
    """Return the value as JSON's own types, every field there: reading it gives the value back."""
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built


def _read(told: object, kind: type[V]) -> V:
    try:
        return msgspec.convert(told, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Invalid(
            "template_unreadable", f"This is not a template's document: {error}."
        ) from None


def check_launch(launch: Launch) -> None:
    """Raise Invalid unless every part is within its limits.

    Codes: `template_image`, `template_command`, `template_env_name`, `template_env_value`,
    `template_env_size`, `template_env_twice`, `template_secret_name`, `template_ports`,
    `template_ssh`, `template_disk`, `template_script`, `template_minimum`.
    """
    _check_image(launch.image)
    for words in (launch.entrypoint, launch.command):
        check_words(words)
    check_variables(launch.env, launch.secrets)
    if launch.registry_login is not None:
        _check_secret_name(launch.registry_login)
    _check_ports(launch)
    _check_sizes(launch)
    if len(launch.start_script) > MAX_SCRIPT_CHARS or not _storable(launch.start_script):
        raise Invalid(
            "template_script", f"A start script has at most {MAX_SCRIPT_CHARS} characters, no NUL."
        )


def _check_image(image: str) -> None:
    if len(image) > MAX_IMAGE or not IMAGE.fullmatch(image) or IMAGE_ID.fullmatch(image):
        raise Invalid(
            "template_image",
            "An image is named as `docker pull` takes it: registry/name:tag or name@sha256:…, "
            "and not by an id.",
        )


def check_words(words: list[str] | None) -> None:
    """Raise Invalid `template_command` unless these words can be a command (None: the image's own)."""
    if words is None:
        return
    if not words:
        raise Invalid(
            "template_command", "An empty command is none: leave it out for the image's own."
        )
    if (
        len(words) > MAX_WORDS
        or any(len(word) > MAX_WORD_CHARS or not _storable(word) for word in words)
        or sum(map(len, words)) > MAX_WORDS_CHARS
    ):
        raise Invalid(
            "template_command",
            f"A command has at most {MAX_WORDS} words and {MAX_WORDS_CHARS} characters, no NUL.",
        )


def check_variables(env: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raise Invalid unless these can be the variables of a container (see `check_launch`)."""
    for name in (*env, *secrets):
        if not ENV_NAME.fullmatch(name) or name.startswith(RESERVED_ENV):
            raise Invalid(
                "template_env_name",
                f"A variable cannot be called {name[:40]!r}: letters, digits and _, not first a digit, at "
                f"most 128; {', '.join(RESERVED_ENV)} are the platform's.",
            )
    if both := env.keys() & secrets.keys():
        raise Invalid(
            "template_env_twice", f"{min(both)} has a value and a secret; one of them must go."
        )
    for name, value in env.items():
        if len(value) > MAX_VALUE_CHARS or not _storable(value):
            raise Invalid(
                "template_env_value",
                f"The value of {name} may have {MAX_VALUE_CHARS} characters and no NUL.",
            )
    for secret in secrets.values():
        _check_secret_name(secret)
    too_many = len(env) + len(secrets) > MAX_VARIABLES or len(secrets) > MAX_SECRETS
    if too_many or sum(map(len, env.values())) > MAX_ENV_CHARS:
        raise Invalid(
            "template_env_size",
            f"At most {MAX_VARIABLES} variables with {MAX_ENV_CHARS} characters together, "
            f"{MAX_SECRETS} of them from secrets.",
        )


def _check_secret_name(name: str) -> None:
    if not SECRET_NAME.fullmatch(name):
        raise Invalid(
            "template_secret_name",
            f"No secret is called {name[:40]!r}: letters, digits, dots, dashes and _, at most 64.",
        )


def _check_ports(launch: Launch) -> None:
    numbers = [port.port for port in launch.ports]
    if (
        any(not 1 <= number <= 65_535 for number in numbers)
        or len(set(numbers)) < len(numbers)
        or launch.ssh_port in numbers
        or len(numbers) > MAX_PORTS
        or any(len(port.label) > MAX_LABEL or not _is_line(port.label) for port in launch.ports)
    ):
        raise Invalid(
            "template_ports",
            f"At most {MAX_PORTS} ports from 1 to 65535, each once and none of them SSH's, with labels "
            f"of at most {MAX_LABEL} characters on one line.",
        )
    if not 1 <= launch.ssh_port <= 65_535 or not SSH_USER.fullmatch(launch.ssh_user):
        raise Invalid(
            "template_ssh", "SSH has a port from 1 to 65535 and a user such as root or ubuntu."
        )


def _check_sizes(launch: Launch) -> None:
    if not 1 <= launch.min_disk_gb <= launch.disk_gb <= MAX_DISK_GB:
        raise Invalid(
            "template_disk",
            f"The disk has 1 to {MAX_DISK_GB} GB, and the least one is not above the usual one.",
        )
    wanted: dict[str, int] = msgspec.structs.asdict(launch.minimum)
    if not _all_within(wanted.values(), MAX_NUMBER) or launch.minimum.gpus > 64:
        raise Invalid("template_minimum", "The least hardware is told in whole numbers from 0 up.")


def _all_within(numbers: Iterable[int], most: int) -> bool:
    return all(0 <= number <= most for number in numbers)


def _is_line(text: str) -> bool:
    """Whether this is one line of text without anything around it that nobody sees."""
    return text.isprintable() and text == text.strip()


def _storable(text: str) -> bool:
    """Whether PostgreSQL and a container take this text: no NUL, no half of a character."""
    return "\x00" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)
