"""How long until it is usable: a published sum of measured parts. What was never measured stays unknown. Pure.

    ready = missing bytes / bandwidth + missing bytes x unpacking + median start

The machine's agent tells which layers it holds, and the bytes and seconds of its newest downloads; the median start
is that of the newest first starts on this machine, download excepted. docs/preflight.md says the same for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from nodes.services import Fetching

FORMULA = (
    "download (bytes that this machine lacks / bytes a second of its newest downloads) "
    "+ unpack (those bytes x seconds a byte that unpacking added to them) "
    "+ start (median of its newest first starts, download excepted)"
)


_UNKNOWN = {
    "missing_bytes": "what must be downloaded is not known",
    "bytes_per_second": "no download was measured here yet",
    "start_seconds": "no start was measured here yet",
}


@dataclass(frozen=True)
class Prediction:
    """Seconds until usable, and its parts; None is unknown."""

    seconds: float | None
    download_seconds: float | None
    unpack_seconds: float | None
    start_seconds: float | None
    missing_bytes: int | None
    image_bytes: int | None
    bytes_per_second: float | None
    of_pulls: int
    of_starts: int

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def predict(sizes: Sequence[int] | None, fetching: Fetching, starts: Sequence[float]) -> Prediction:
    """Predict a start.

    Args:
        sizes: compressed bytes of the image's layers; None when nobody could be asked.
        fetching: what the machine lacks of them, and its pace.
        starts: seconds of its newest first starts, download excepted.
    """
    missing = missing_bytes(sizes, fetching)
    download = _times(missing, fetching.bytes_per_second and 1 / fetching.bytes_per_second)
    unpack = _times(missing, fetching.unpack_seconds_per_byte)
    start = float(median(starts)) if starts else None
    parts = (download, unpack, start)
    known = [part for part in parts if part is not None]
    return Prediction(
        seconds=sum(known) if len(known) == len(parts) else None,
        download_seconds=download,
        unpack_seconds=unpack,
        start_seconds=start,
        missing_bytes=missing,
        image_bytes=None if sizes is None else sum(sizes),
        bytes_per_second=fetching.bytes_per_second,
        of_pulls=fetching.pulls,
        of_starts=len(starts),
    )


def sentence(told: Mapping[str, Any]) -> str:
    """Return a prediction (as `Prediction.told`) as people read it."""
    missing, image = told["missing_bytes"], told["image_bytes"]
    seconds = told["seconds"]
    if missing is not None and image:
        here = (
            "All of the image is on the machine already."
            if not missing
            else (f"{_amount(missing)} of {_amount(image)} must be downloaded.")
        )
    else:
        here = ""
    if seconds is not None:
        return f"Ready in about {seconds:.0f} s. {here}".rstrip()
    unknown = [
        words
        for name, words in _UNKNOWN.items()
        if told[name] is None and not (name == "bytes_per_second" and missing == 0)
    ]
    return f"Time to ready unknown: {', '.join(unknown)}. {here}".rstrip()


def _amount(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def missing_bytes(sizes: Sequence[int] | None, fetching: Fetching) -> int | None:
    """Return the compressed bytes that a machine lacks; None when it, or the image, is unknown."""
    if sizes is None or fetching.missing is None:
        return None
    return sum(size for size, lacks in zip(sizes, fetching.missing, strict=True) if lacks)


def _times(amount: int | None, each: float | None) -> float | None:
    """Return amount x each; nothing takes no time at any pace."""
    if amount == 0:
        return 0.0
    return None if amount is None or each is None else amount * each
