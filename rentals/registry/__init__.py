"""Asks registries about images (Docker Registry HTTP API v2): what is there, how large, made for what.

Network: call it outside any transaction. Documents that are named by their digest are kept for a while; the
question by name is asked every time, so that a log-in is always proven.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from django.conf import settings
from django.core.cache import cache

from rentals.registry.reaching import Answer, Budget, Caller, Origin, is_inside, origin_of
from rentals.registry.references import Reference, read_reference
from rentals.registry.shapes import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Config,
    Image,
    Index,
    Layer,
    Manifest,
    digest_of,
    image_of,
    read,
    read_top,
)
from rentals.registry.troubles import RegistryTrouble, away, odd

__all__ = [
    "Found",
    "Image",
    "Layer",
    "Login",
    "RegistryTrouble",
    "look_up",
    "may_be_asked",
    "read_reference",
]

TOTAL_SECONDS = 8.0
MAX_DOCUMENT = 4_000_000
MAX_TOKEN_ANSWER = 64_000
MAX_TOKEN = 16_384
MAX_TOTAL = 12_000_000
MAX_REDIRECTS = 3
KEPT_SECONDS = 600
LARGEST_KEPT = 256_000
_PARAMETER = re.compile(r'([a-zA-Z_]{1,40})="([^"]{0,2000})"')
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class Login:
    """Who asks; never shown."""

    user: str
    password: str = field(repr=False)

    def header(self) -> str:
        plain = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(plain).decode()}"


@dataclass(frozen=True)
class Found:
    """An image's name answered: `digest` pins it, `digests` are by architecture, `image` is the wanted one.

    `image` is None when there is none for the wanted architecture. `logged_in`: a log-in was asked for.
    """

    digest: str
    digests: dict[str, str]
    image: Image | None
    logged_in: bool


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def look_up(image: str, *, architecture: str, login: Login | None = None, asker: str = "") -> Found:
    """Return what a registry says of an image for `architecture` (amd64, arm64, ...).

    `asker` is who has few names looked up at a time. Takes TOTAL_SECONDS at most. Raises
    RegistryTrouble with one of the codes named there.
    """
    asking = _Asking(read_reference(image), login, asker)
    try:
        return asking.run(architecture)
    finally:
        asking.caller.close()


def trusted_origins() -> frozenset[Origin]:
    """Return the registries that this deployment's settings trust, wherever they are."""
    return frozenset(origin_of(url) for url in settings.DC.trusted_registries)


def may_be_asked(image: str) -> bool:
    """Whether machines may be sent to this image's registry: it is out in the world, or the settings trust it.

    By its name alone, no network; `look_up` sees where the name leads. Raises RegistryTrouble.
    """
    host = read_reference(image).host
    origins = {origin_of(f"{scheme}://{host}") for scheme in ("http", "https")}
    return not origins.isdisjoint(trusted_origins()) or not any(is_inside(o[1]) for o in origins)


class _Asking:
    """One errand to one registry."""

    def __init__(self, reference: Reference, login: Login | None, asker: str = "") -> None:
        self.reference = reference
        self.login = login
        trusted = trusted_origins()
        scheme = "http" if origin_of(f"http://{reference.host}") in trusted else "https"
        self.base = f"{scheme}://{reference.host}/v2/{reference.repository}"
        # A stranger's registry leads to nobody inside, not even to the deployment's own.
        mine = trusted if origin_of(self.base) in trusted else frozenset()
        budget = Budget(time.monotonic() + TOTAL_SECONDS, MAX_TOTAL, asker)
        self.caller = Caller(mine, budget)
        self.authorization = ""

    def run(self, architecture: str) -> Found:
        wanted = self.reference.digest or self.reference.tag
        body = self._manifest(wanted)
        digest = digest_of(body)
        if self.reference.digest and digest != self.reference.digest:
            raise odd("it is not what its digest names")
        top = read_top(body)
        if isinstance(top, Manifest):
            image = self._image(digest, top)
            fits = image if image.architecture == architecture else None
            return self._found(digest, {image.architecture: digest}, fits)
        digests = _by_architecture(top)
        if architecture not in digests:
            return self._found(digest, digests, None)
        mine = digests[architecture]
        manifest = read(self._kept(mine, self._manifest), Manifest)
        return self._found(digest, digests, self._image(mine, manifest))

    def _found(self, digest: str, digests: dict[str, str], image: Image | None) -> Found:
        return Found(digest, digests, image, bool(self.authorization))

    def _image(self, digest: str, manifest: Manifest) -> Image:
        config = read(self._kept(manifest.config.digest, self._blob), Config)
        return image_of(digest, manifest, config)

    def _kept(self, digest: str, fetch: _Fetch) -> bytes:
        """Return a document by its digest, from memory if somebody asked this repository for it lately."""
        key = f"registry:{digest_of(self.base.encode())}:{digest}"
        kept = cache.get(key)
        if isinstance(kept, bytes):
            return kept
        body = fetch(digest)
        if digest_of(body) != digest:
            raise odd("it is not what its digest names")
        if len(body) <= LARGEST_KEPT:
            cache.set(key, body, KEPT_SECONDS)
        return body

    def _manifest(self, wanted: str) -> bytes:
        accept = ", ".join([*INDEX_TYPES, *MANIFEST_TYPES])
        return self._fetch(f"{self.base}/manifests/{wanted}", {"Accept": accept})

    def _blob(self, digest: str) -> bytes:
        return self._fetch(f"{self.base}/blobs/{digest}", {})

    def _fetch(self, url: str, headers: dict[str, str]) -> bytes:
        answer, at = self._follow(url, headers)
        if answer.status == 401 and not self.authorization and origin_of(at) == origin_of(url):
            self.authorization = self._authorize(answer.headers.get("www-authenticate", ""))
            answer, at = self._follow(url, headers)
        if answer.status in {401, 403}:
            raise self._shut_out()
        if answer.status == 404:
            raise RegistryTrouble(
                "image_missing", f"There is no image {self._name()}. Check its name and tag."
            )
        if answer.status != 200:
            raise away(f"its status was {answer.status}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise odd("it is compressed, which nobody asked for")
        return answer.body

    def _name(self) -> str:
        reference = self.reference
        tail = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
        return f"{reference.written}{tail}"

    def _follow(self, url: str, headers: dict[str, str]) -> tuple[Answer, str]:
        """GET with redirects, each checked like the first; the log-in goes to the registry alone.

        Returns the answer and the address that gave it.
        """
        home = origin_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            mine = dict(headers)
            if self.authorization and origin_of(url) == home:
                mine["Authorization"] = self.authorization
            answer = self.caller.get(url, mine, limit=MAX_DOCUMENT)
            if answer.status not in _REDIRECTS:
                return answer, url
            url = _joined(url, answer.headers.get("location", ""))
        raise odd("it sends us from one address to the next")

    def _authorize(self, challenge: str) -> str:
        """Return the header that a challenge asks for."""
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "basic":
            if self.login is None:
                raise self._shut_out()
            return self.login.header()
        told = dict(_PARAMETER.findall(rest[:8000]))
        if scheme.lower() != "bearer" or not told.get("realm"):
            raise odd("it asks for a log-in that we do not know")
        return f"Bearer {self._token(told)}"

    def _token(self, told: dict[str, str]) -> str:
        query = {"scope": told.get("scope") or f"repository:{self.reference.repository}:pull"}
        if told.get("service"):
            query["service"] = told["service"]
        realm = told["realm"]
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        headers = {"Authorization": self.login.header()} if self.login else {}
        answer = self.caller.get(url, headers, limit=MAX_TOKEN_ANSWER)
        if answer.status in {400, 401, 403}:
            raise self._shut_out()
        if answer.status != 200:
            raise away(f"its status was {answer.status}")
        found = read(answer.body, _Token)
        token = found.token or found.access_token
        if not (0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable()):
            raise odd("it gave no token")
        return token

    def _shut_out(self) -> RegistryTrouble:
        if self.login is not None:
            return RegistryTrouble(
                "registry_login_wrong",
                f"The registry does not let your log-in read {self._name()}. Check user, password and name.",
            )
        return RegistryTrouble(
            "registry_login_needed",
            f"The registry does not show {self._name()} to everybody: it needs a log-in, or there is none.",
        )


def _joined(url: str, location: str) -> str:
    """Return the address that a redirect names."""
    if not location or len(location) > 8000:
        raise odd("it sends us nowhere")
    if location.startswith("/") and not location.startswith("//"):
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc, location, "", ""))
    return location


def _by_architecture(index: Index) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in index.manifests:
        if entry.platform is not None and entry.platform.os == "linux":
            found.setdefault(entry.platform.architecture, entry.digest)
    return found
