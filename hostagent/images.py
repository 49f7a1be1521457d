"""What this machine need not download again, and how fast it downloads: for predictions, never for decisions."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from hostagent.engine import Engine, EngineAway, EngineError, Progress
from hostagent.identity import write_private
from hostagent.protocol import MAX_CHAINS, MAX_PULLS, ImageCache, PullRecord, RegistryLogin
from hostagent.registries import Place, RegistryRefused, repository_of, require_outside

log = logging.getLogger(__name__)
T = TypeVar("T")

# One look asks the engine once for each image that is new; a machine with more keeps the rest to itself.
MAX_IMAGES = 100
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Images:
    """The images of one engine. Blocking: call it from threads."""

    def __init__(
        self, engine: Engine, path: Path, *, inside: frozenset[Place] = frozenset()
    ) -> None:
        # `inside`: registries that this machine's owner allows although they are not out in the world.
        self._engine = engine
        self._inside = inside
        self._path = path
        self._chains: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._pulls = _read(path, list[PullRecord])[-MAX_PULLS:]
        self._closed_path = path.with_name("closed-images.json")
        # Repositories of which something came here by a log-in.
        self._closed = {repository_of(name) for name in _read(self._closed_path, list[str])}

    def may_start(self, image: str) -> bool:
        """Whether an image is here and anybody may have it.

        What came here by somebody's log-in is asked for again each time: the registry says who gets it.
        """
        return repository_of(image) not in self._closed and self._engine.has_image(image)

    def pull(
        self,
        image: str,
        progress: Progress,
        cancelled: threading.Event,
        login: RegistryLogin | None = None,
    ) -> None:
        """Download an image as Engine.pull does, and write down how long it took.

        Raises as that does, and EngineError `registry_address_refused` before the engine asks anybody.
        """
        try:
            require_outside(image, self._inside)
        except RegistryRefused as error:
            raise EngineError(error.code, str(error)) from error
        if login is not None:
            with self._lock:
                self._closed.add(repository_of(image))
                # Before the download: a crash in between must not leave it open to everybody.
                write_private(self._closed_path, msgspec.json.encode(sorted(self._closed)))
        record = self._engine.pull(image, progress, cancelled, login)
        if not record.bytes:
            return
        with self._lock:
            self._pulls = [*self._pulls, record][-MAX_PULLS:]
            try:
                write_private(self._path, msgspec.json.encode(self._pulls))
            except OSError as error:
                # A full disk: what we know stays in memory.
                log.error("the downloads could not be written down: %s", error)

    def cache(self) -> ImageCache | None:
        """Return what is here now; None when the engine does not say."""
        try:
            ids = self._engine.image_ids()[:MAX_IMAGES]
            known = {image: self._chains_of(image) for image in ids}
        except (EngineAway, EngineError) as error:
            log.warning("images: %s", error)
            return None
        self._chains = known
        told = list(dict.fromkeys(chain for chains in known.values() for chain in chains))
        with self._lock:
            return ImageCache(chains=told[:MAX_CHAINS], pulls=self._pulls)

    def _chains_of(self, image: str) -> list[str]:
        # An id names its content: what was asked once stays true.
        return self._chains.get(image) or chains_of(self._engine.layers_of(image))


def chains_of(diff_ids: list[str]) -> list[str]:
    """Return each layer's chain id as `ImageCache` tells it."""
    chain, told = "", []
    for diff_id in diff_ids:
        if not _DIGEST.fullmatch(diff_id):
            break  # another kind of hash: what lies on it has no chain id that we could name
        chain = f"sha256:{_sha256(f'{chain} {diff_id}')}" if chain else diff_id
        told.append(chain.removeprefix("sha256:")[:32])
    return told


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, kind: type[list[T]]) -> list[T]:
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return []
