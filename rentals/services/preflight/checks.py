"""The judgments of a pre-flight, one function each: what was measured, what is required, what to do. Pure.

`fail` blocks the rent and is said only of what is certain; `warn` is for estimates and for what could not be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rentals.registry import Found, Image
from rentals.services.preflight import cuda

OK, WARN, FAIL = "ok", "warn", "fail"
# What unpacks from a compressed byte of an image, as a rule of thumb: gzip makes of programs about two fifths.
UNPACKED = 2.5
GB = 1_000_000_000
FINAL = {
    "image_name_invalid": "manifest",
    "image_missing": "manifest",
    "registry_address_refused": "manifest",
    "registry_login_needed": "registry_login",
    "registry_login_wrong": "registry_login",
}


@dataclass(frozen=True)
class Check:
    """One line of a pre-flight."""

    code: str
    result: str
    measured: str
    required: str
    sentence: str

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What the registry said: `found`, or the code and the sentence of its trouble."""

    found: Found | None
    trouble: str = ""
    sentence: str = ""


def of_offer(listed: bool, gpu_free: int, gpus: int) -> Check:
    """Whether the offer is still there, at this size."""
    needs = f"{gpus} free cards" if gpus else "the whole machine"
    if not listed:
        why = "This machine was taken or went away. Pick another offer."
        return Check("offer", FAIL, "not listed", needs, why)
    if gpus > gpu_free:
        why = f"Only {gpu_free} of its cards are free now. Ask for fewer, or pick another offer."
        return Check("offer", FAIL, f"{gpu_free} free cards", needs, why)
    has = f"{gpu_free} free cards" if gpus else "free"
    return Check("offer", OK, has, needs, "The machine is free at this size.")


def of_price(quoted: int | None, current: int, hourly: str) -> Check:
    """Whether the price is still the one that was quoted (nano-units a second)."""
    if quoted is not None and quoted != current:
        why = "Its price has changed. Your quote holds until it expires; ask again for the new one."
        return Check("price", WARN, f"{hourly}/h", "as quoted", why)
    return Check("price", OK, f"{hourly}/h", "as quoted", "The price is the one you saw.")


def of_disk(disk_gb: int, free_gb: int) -> Check:
    """Whether the asked disk is still free."""
    measured, required = f"{free_gb} GB free", f"{disk_gb} GB"
    if disk_gb > free_gb:
        why = f"The machine has {free_gb} GB left. Ask for less disk, or pick another offer."
        return Check("disk", FAIL, measured, required, why)
    return Check("disk", OK, measured, required, "The disk is free.")


def of_ports(wanted: Sequence[int], free: int) -> Check:
    """Whether the container's ports are ports, and enough public ones are free."""
    measured, required = f"{free} public ports free", f"{len(wanted)} ports"
    wrong = [port for port in wanted if not 1 <= port <= 65535]
    if wrong:
        why = f"{wrong[0]} is no port. Mend the template: ports lie between 1 and 65535."
        return Check("ports", FAIL, str(wrong[0]), "1 to 65535", why)
    if free < len(wanted):
        why = "Not enough public ports are free right now. Try again in a minute."
        return Check("ports", FAIL, measured, required, why)
    return Check("ports", OK, measured, required, "Enough public ports are free.")


def of_manifest(asked: Asked, image: str) -> Check:
    """Whether the image is there."""
    if asked.found is not None:
        return Check(
            "manifest", OK, asked.found.digest, image, "The registry has this image; it is pinned."
        )
    if asked.trouble in FINAL:
        result = FAIL if FINAL[asked.trouble] == "manifest" else WARN
        return Check("manifest", result, asked.trouble, image, asked.sentence)
    why = f"{asked.sentence} Whether the image is there shows when the machine downloads it."
    return Check("manifest", WARN, asked.trouble, image, why)


def of_login(asked: Asked, named: bool) -> Check:
    """Whether the registry lets this image be read."""
    required = "a log-in that works" if named else "none, or a log-in that works"
    if asked.found is not None:
        open_ = "The registry shows the image to everybody."
        words = "The log-in works." if named else open_
        return Check("registry_login", OK, "readable", required, words)
    if FINAL.get(asked.trouble) == "registry_login":
        return Check("registry_login", FAIL, asked.trouble, required, asked.sentence)
    why = "The registry could not be asked."
    return Check("registry_login", WARN, "unknown", required, why)


def of_architecture(asked: Asked, machine: str) -> Check:
    """Whether the image is made for this machine's processor."""
    required = machine or "unknown"
    if asked.found is None or not machine:
        return _unknown("architecture", required)
    made_for = ", ".join(sorted(asked.found.digests)) or "none"
    if asked.found.image is None:
        why = f"The image is made for {made_for}, this machine is {machine}. Pick another machine or image."
        return Check("architecture", FAIL, made_for[:200], required, why[:400])
    return Check("architecture", OK, made_for[:200], required, "The image runs on this processor.")


def of_cuda(image: Image | None, has: cuda.Driver, gpus: int) -> Check:
    """Whether the driver can what the image needs."""
    if image is None:
        return _unknown("cuda", "unknown")
    if not cuda.needs_card(image.env, image.labels):
        return Check("cuda", OK, cuda.shown(has.cuda), "none", "The image asks for no CUDA.")
    lines = cuda.needed(image.env)
    required = " ".join(lines)[:200] or image.env.get("CUDA_VERSION", "a card")[:40]
    if not gpus:
        why = "The image is made for NVIDIA cards and this machine is rented without one."
        return Check("cuda", WARN, "no card", required, why)
    return _of_driver(lines, required, image.env.get("CUDA_VERSION", ""), has)


def _of_driver(lines: list[str], required: str, built: str, has: cuda.Driver) -> Check:
    measured = f"CUDA {cuda.shown(has.cuda)}, driver {cuda.shown(has.driver)}"
    told = [cuda.allows(line, has) for line in lines]
    if False in told:
        newest = _named(lines[told.index(False)])
        why = f"The image needs {newest}, this host has {measured}. Pick a machine with a newer driver."
        return Check("cuda", FAIL, measured, required, why)
    made = cuda.version(built)
    if not lines and made and has.cuda and made[0] > has.cuda[0]:
        why = (
            f"The image is built with CUDA {built[:20]}, this host has {measured}: it may not run."
        )
        return Check("cuda", WARN, measured, required, why)
    if None in told or has.cuda is None:
        why = "What the driver of this machine can is not known well enough to tell."
        return Check("cuda", WARN, measured, required, why)
    return Check("cuda", OK, measured, required, "The driver can what the image needs.")


def _named(line: str) -> str:
    """Return the first demand of a line as people say it: `cuda>=13.1` is `CUDA 13.1`."""
    first = line.split()[0].split(",")[0][:60]
    return f"CUDA {first[6:]}" if first.startswith("cuda>=") else first


def of_size(image: Image | None, missing: int | None, disk_gb: int, host_gb: int) -> Check:
    """Whether the image fits: into the asked disk as a whole, what is missing of it onto the host."""
    if image is None:
        return _unknown("size", f"{disk_gb} GB disk, {host_gb} GB free on the host")
    packed, needs = image.size, image.size if missing is None else missing
    unpacked = packed * UNPACKED
    measured = f"{_gb(packed)} GB to download, about {_gb(unpacked)} GB unpacked"
    required = f"{disk_gb} GB disk, {host_gb} GB free on the host"
    if packed > disk_gb * GB:
        why = f"The image is larger than the disk you ask for. Ask for {round(unpacked / GB) + 1} GB or more."
        return Check("size", FAIL, measured, required, why)
    if needs > host_gb * GB:
        why = "The host has not enough free disk to download the image. Pick another machine."
        return Check("size", FAIL, measured, required, why)
    if unpacked > disk_gb * GB:
        why = f"Unpacked, the image may not fit. {round(unpacked / GB) + 1} GB would be safe."
        return Check("size", WARN, measured, required, why)
    if needs * (1 + UNPACKED) > host_gb * GB:
        why = "The host's disk may be too full to unpack the image."
        return Check("size", WARN, measured, required, why)
    return Check("size", OK, measured, required, "The image fits.")


def verdict(checks: Sequence[Check]) -> str:
    """Return the worst result."""
    results = {check.result for check in checks}
    return FAIL if FAIL in results else WARN if WARN in results else OK


def _unknown(code: str, required: str) -> Check:
    return Check(code, WARN, "unknown", required, "The registry did not say; the start will show.")


def _gb(size: float) -> str:
    return f"{size / GB:.2f}"
