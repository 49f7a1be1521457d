"""Names of images, read as the Docker Engine reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rentals.registry.troubles import RegistryTrouble

MAX_NAME = 500
HUB_NAME = "docker.io"
HUB = f"registry-1.{HUB_NAME}"
# As engines do: one registry, whatever it is called.
HUB_NAMES = frozenset({HUB_NAME, f"index.{HUB_NAME}", HUB})
_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?|\[[0-9a-fA-F:.]{2,45}\])(?::\d{1,5})?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """An image's name in its parts; `digest` is empty when only a tag is named.

    `written` is the name without tag and digest, as its author wrote it.
    """

    host: str
    repository: str
    tag: str
    digest: str
    written: str

    def pinned(self, digest: str) -> str:
        """Return the name of exactly this content."""
        return f"{self.written}@{digest}"


def read_reference(image: str) -> Reference:
    """Return the parts of an image's name; raises RegistryTrouble `image_name_invalid`."""
    name, at, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    first, slash, rest = head.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, repository = first.lower(), rest
    else:
        host, repository = HUB_NAME, head
    if host in HUB_NAMES:
        host = HUB
        repository = repository if "/" in repository else f"library/{repository}"
    good = (
        len(image) <= MAX_NAME
        and _HOST.fullmatch(host)
        and _REPOSITORY.fullmatch(repository)
        and (not tag or _TAG.fullmatch(tag))
        and (not at or DIGEST.fullmatch(digest))
    )
    if not good:
        raise RegistryTrouble(
            "image_name_invalid",
            "This is no image's name. One looks like registry.example.org/team/image:1.2.",
        )
    return Reference(host, repository, tag or ("" if digest else "latest"), digest, head)
