"""What an engine says while it downloads: bytes, and what a renter may hear of a failure."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

DOWNLOADING = frozenset({"Downloading", "Verifying Checksum", "Download complete"})
_MISSING = ("manifest unknown", "not found", "does not exist", "invalid reference")
_REFUSED = ("unauthorized", "denied", "no basic auth")
# What is known of the rest, in words of our own.
_KNOWN = (
    ("no space left on device", "the machine's disk is full"),
    ("toomanyrequests", "the registry allows no more downloads for now"),
    ("no matching manifest", "it is not made for this machine's kind of processor"),
)
_UNKNOWN = "no registry answered for it as one should"


def count(layers: dict[str, tuple[int, int | None]], line: dict[str, Any]) -> None:
    """Fold one progress line into layer id -> (bytes so far, bytes in all)."""
    layer, status = line.get("id", ""), line.get("status", "")
    detail = line.get("progressDetail") or {}
    if status == "Pulling fs layer":
        layers.setdefault(layer, (0, None))
    elif status == "Downloading" and "current" in detail:
        layers[layer] = (detail["current"], detail.get("total"))
    elif status in {"Download complete", "Pull complete", "Already exists"}:
        size = layers.get(layer, (0, None))[1] or 0
        layers[layer] = (size, size)


def said(image: str, message: str) -> tuple[str, str]:
    """Return code and sentence for a download that the engine gave up.

    The engine quotes whatever answered, which need not be a registry: its words stay in this machine's log.
    """
    log.warning("the download of %s failed: %r", image, message[:2000])
    words = message.lower()
    if any(word in words for word in _MISSING):
        return "image_missing", f"There is no image {image}. Check its name and tag."
    if any(word in words for word in _REFUSED):
        return (
            "image_login_refused",
            f"The registry does not hand out {image} with this log-in, or without one.",
        )
    why = next((told for word, told in _KNOWN if word in words), _UNKNOWN)
    return "image_pull_failed", f"The image {image} could not be downloaded: {why}."
