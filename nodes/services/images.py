"""What a machine holds of images and how fast it fetches the rest: as its agent tells it, for predictions only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from core import clock
from hostagent.protocol import ImageCache
from nodes.models import ImageStore, Node

SHORT = slice(len("sha256:"), len("sha256:") + 32)


@dataclass(frozen=True)
class Fetching:
    """What a machine would have to do for an image. None: nobody knows.

    Args:
        missing: whether each layer, from the lowest, must be downloaded.
        bytes_per_second: of its newest downloads together.
        unpack_seconds_per_byte: what unpacking added to them.
        pulls: how many downloads these figures are made of.
    """

    missing: list[bool] | None
    bytes_per_second: float | None
    unpack_seconds_per_byte: float | None
    pulls: int


def record_images(node: Node, cache: ImageCache | None) -> None:
    """Write down what an agent told of its images; None takes what was known away. The caller locks the node."""
    if cache is None:
        ImageStore.objects.filter(node=node).delete()
        return
    ImageStore.objects.update_or_create(
        node=node,
        defaults={
            "chains": cache.chains,
            "pulls": len(cache.pulls),
            "pulled_bytes": sum(pull.bytes for pull in cache.pulls),
            "download_ms": round(1000 * sum(pull.seconds for pull in cache.pulls)),
            "unpack_ms": round(1000 * sum(pull.unpack_seconds for pull in cache.pulls)),
            "told_at": clock.now(),
        },
    )


def fetching(*, node_id: uuid.UUID, chains: Sequence[str]) -> Fetching:
    """Return what a node would have to download of layers with these chain ids (`sha256:…`), and how fast."""
    store = ImageStore.objects.filter(node_id=node_id).first()
    if store is None:
        return Fetching(None, None, None, 0)
    held = set(store.chains)
    speed = unpacking = None
    if store.pulled_bytes and store.download_ms:
        speed = store.pulled_bytes * 1000 / store.download_ms
        unpacking = store.unpack_ms / 1000 / store.pulled_bytes
    missing = [chain[SHORT] not in held for chain in chains]
    return Fetching(missing, speed, unpacking, store.pulls)
