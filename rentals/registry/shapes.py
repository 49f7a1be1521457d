"""What registries answer, read strictly where we use it and bounded everywhere. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from rentals.registry.troubles import odd

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_LAYERS = 256
MAX_VARIANTS = 200
_Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
_Size = Annotated[int, Meta(ge=0, le=2**50)]
_Text = Annotated[str, Meta(max_length=32_768)]
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """One layer: its digest as it travels, its compressed bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """What a registry declares of one image for one architecture.

    `chains[i]` names the layers 0..i together, unpacked: what an engine looks for before it downloads.
    """

    digest: str
    architecture: str
    layers: tuple[Layer, ...]
    chains: tuple[str, ...]
    env: dict[str, str]
    labels: dict[str, str]
    user: str
    ports: tuple[int, ...]

    @property
    def size(self) -> int:
        """Compressed bytes of all layers."""
        return sum(layer.size for layer in self.layers)


class Platform(msgspec.Struct):
    architecture: _Text = ""
    os: _Text = ""


class Descriptor(msgspec.Struct):
    digest: _Digest
    size: _Size
    platform: Platform | None = None


class Index(msgspec.Struct):
    manifests: Annotated[list[Descriptor], Meta(max_length=MAX_VARIANTS)]


class Manifest(msgspec.Struct):
    config: Descriptor
    layers: Annotated[list[Descriptor], Meta(min_length=1, max_length=MAX_LAYERS)]


class _Settings(msgspec.Struct):
    env: Annotated[list[_Text], Meta(max_length=1000)] | None = msgspec.field(
        default=None, name="Env"
    )
    labels: dict[_Text, _Text] | None = msgspec.field(default=None, name="Labels")
    user: _Text = msgspec.field(default="", name="User")
    ports: dict[_Text, Any] | None = msgspec.field(default=None, name="ExposedPorts")


class _Rootfs(msgspec.Struct):
    diff_ids: Annotated[list[_Digest], Meta(max_length=MAX_LAYERS)]


class Config(msgspec.Struct):
    architecture: _Text
    rootfs: _Rootfs
    config: _Settings | None = None


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def read_top(body: bytes) -> Index | Manifest:
    """Return what a manifest's address holds: one image, or a list of them by architecture."""
    kind: type[Index | Manifest] = Index if b'"manifests"' in body else Manifest
    return read(body, kind)


def read(body: bytes, kind: type[T]) -> T:
    """Return a body as this kind; raises RegistryTrouble `registry_answer_odd`."""
    if b"\\u0000" in body:
        raise odd("a text in it holds a NUL")  # which PostgreSQL could not keep
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise odd(f"it is no {kind.__name__.lower()}") from error


def image_of(digest: str, manifest: Manifest, config: Config) -> Image:
    """Return an image from its two documents; raises RegistryTrouble when they do not fit together."""
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise odd("its layers and its configuration do not fit together")
    settings = config.config or _Settings()
    pairs = (line.partition("=") for line in settings.env or [])
    return Image(
        digest=digest,
        architecture=config.architecture,
        layers=tuple(Layer(layer.digest, layer.size) for layer in manifest.layers),
        chains=chains_of(config.rootfs.diff_ids),
        env={name: value for name, _, value in pairs},
        labels=settings.labels or {},
        user=settings.user,
        ports=tuple(sorted({port for port in map(_port, settings.ports or {}) if port})),
    )


def chains_of(diff_ids: list[str]) -> tuple[str, ...]:
    """Return the chain id of each layer: layers are shared only together with all those below them."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest_of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return tuple(chains)


def _port(text: str) -> int | None:
    number, _, protocol = text.partition("/")
    if protocol not in {"", "tcp"} or not (number.isascii() and number.isdigit()):
        return None
    port = int(number) if len(number) <= 5 else 0
    return port if 1 <= port <= 65535 else None
