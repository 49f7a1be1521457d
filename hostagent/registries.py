"""Which registries this machine is sent to: those out in the world, and those that its owner allows.

Whoever rents names an image, and the engine asks that host beside everything else in this machine's network. The
platform looks before; this is the last look, from where the name is really resolved.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket

HUB = "docker.io"
HUB_REGISTRY = f"registry-1.{HUB}"
HUB_NAMES = frozenset({HUB, f"index.{HUB}", HUB_REGISTRY, "registry.hub.docker.com"})
SETTING = "DC_AGENT_REGISTRIES"
HTTPS = 443
# A host's name, or address, and a port.
Place = tuple[str, int]

# Public as an address, and yet a cloud's own metadata service.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
# What IPv6 gives out to the world. The rest is the inside, or hides an IPv4 address (as do those below).
_WORLD = ipaddress.ip_network("2000::/3")
_NOT_WORLD = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_PLACE = re.compile(
    r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
)


class RegistryRefused(Exception):
    """An image's registry is not asked: `code` goes to the platform, the message to the renter."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def allowed_inside() -> frozenset[Place]:
    """Return the registries of DC_AGENT_REGISTRIES (host:port, commas between); raises ValueError for what is none."""
    return frozenset(place_of(part) for part in os.environ.get(SETTING, "").split(",") if part)


def place_of(text: str) -> Place:
    """Return host and port of a registry as images and the setting spell it; raises ValueError."""
    found = _PLACE.fullmatch(text.strip())
    port = int((found and found["port"]) or HTTPS)
    if found is None or not 0 < port < 65_536:
        raise ValueError(f"{text[:100]!r} is no registry; one looks like registry.example.org:5000")
    return found["host"].strip("[]").lower().rstrip("."), port


def repository_of(image: str) -> str:
    """Return an image's repository under the one name that stands for all of its spellings.

    An engine knows an image of Docker Hub as team/app, as docker.io/team/app and under older names of that host;
    a host's name has no case. Two spellings that an engine keeps apart may fall together here: then it
    only asks once more.
    """
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    name = head if colon and "/" not in tag else name
    first, slash, rest = name.partition("/")
    # Engines take capitals for a host, too, since no repository of Docker Hub has any.
    host = first.lower()
    if not (slash and ("." in first or ":" in first or host == "localhost" or host != first)):
        host, rest = HUB, name
    if host in HUB_NAMES:
        return f"{HUB}/{rest if '/' in rest else f'library/{rest}'}"
    return f"{host}/{rest}"


def registry_of(image: str) -> Place:
    """Return the host and port that an engine asks for an image; raises ValueError for what is no image's name."""
    host = repository_of(image).partition("/")[0]
    return place_of(HUB_REGISTRY if host == HUB else host)


def require_outside(image: str, inside: frozenset[Place]) -> None:
    """Resolve an image's registry, and raise RegistryRefused unless it is out in the world or one of `inside`.

    `registry_address_refused`; `image_pull_failed` when this machine does not know the name. Takes as long as
    the system's resolver: call it from threads.
    """
    try:
        place = registry_of(image)
    except ValueError as error:
        raise RegistryRefused("image_missing", f"{image} is no image's name.") from error
    if place in inside:
        return
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RegistryRefused(
            "image_pull_failed",
            f"The image {image} could not be downloaded: its registry's name is not known on this machine.",
        ) from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise RegistryRefused(
            "registry_address_refused",
            f"This machine does not ask the registry of {image}: its address is not on the open internet. Put the "
            "image into one that is, with a log-in if it is private.",
        )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the open internet and to nobody's inside."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _WORLD or any(address in network for network in _NOT_WORLD):
            return False
    return address.is_global and not address.is_multicast and address not in _METADATA
