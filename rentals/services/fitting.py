"""Whether a machine is large enough for what a template says it needs."""

from __future__ import annotations

from core.errors import Invalid
from nodes.models import Offer
from rentals.launch import MAX_DISK_GB, Launch, Minimum

# Words and unit of each requirement, in the order in which they are looked at.
_WORDS = {
    "gpus": ("GPUs", ""),
    "vram_mib": ("memory on each GPU", " MiB"),
    "cuda": ("CUDA", ""),
    "cpu_cores": ("CPU cores", ""),
    "memory_mib": ("memory", " MiB"),
}


def search_for(launch: Launch) -> dict[str, int]:
    """Return the question to the search, as names and values, that leaves out what cannot be large enough.

    Cores and memory are of a whole machine there, so whether a part is large enough the quote says.
    """
    least = launch.minimum
    wished = {
        "gpus": least.gpus,
        "vram_mib_min": least.vram_mib,
        "cuda_min": least.cuda,
        "cpu_cores_min": least.cpu_cores,
        "memory_mib_min": least.memory_mib,
        "disk_gb": launch.disk_gb,
    }
    return {name: value for name, value in wished.items() if value}


def require_disk(offer: Offer, disk_gb: int, launch: Launch) -> None:
    """Raise Invalid `disk_gb` unless the machine has this disk and the template can live on it."""
    if not 1 <= disk_gb <= min(offer.disk_gb, MAX_DISK_GB):
        raise Invalid("disk_gb", f"Ask for 1 to {offer.disk_gb} GB on this machine.")
    if disk_gb < launch.min_disk_gb:
        raise Invalid("disk_gb", f"This template needs at least {launch.min_disk_gb} GB.")


def require_hardware(offer: Offer, gpus: int, minimum: Minimum) -> None:
    """Raise Invalid `hardware_too_small` naming the first requirement that this part of the machine fails.

    What a machine does not tell of itself does not meet a requirement.
    """
    has = _part_of(offer, gpus)
    for name, (words, unit) in _WORDS.items():
        needed, there = getattr(minimum, name), has[name]
        if needed and (there is None or there < needed):
            known = "does not tell" if there is None else f"has {_figure(name, there)}{unit}"
            raise Invalid(
                "hardware_too_small",
                f"This template needs {_figure(name, needed)}{unit} ({words}); what you ask for here "
                f"{known}. Take more of the machine, or another one.",
                requirement=name,
                needed=needed,
                has=there,
            )


def _part_of(offer: Offer, gpus: int) -> dict[str, int | None]:
    """Return what comes with `gpus` cards; as `nodes.services.capacity.share_of` gives it out."""
    if not offer.gpu_total:
        cores, memory = offer.cpu_cores, offer.memory_mib
    else:
        cores = max(1, offer.cpu_cores * gpus // offer.gpu_total)
        memory = max(512, offer.memory_mib * gpus // offer.gpu_total)
    return {
        "gpus": gpus,
        "vram_mib": offer.vram_mib if gpus else 0,
        "cuda": offer.cuda,
        "cpu_cores": cores,
        "memory_mib": memory,
    }


def _figure(name: str, value: int) -> str:
    return f"{value // 100}.{value % 100 // 10}" if name == "cuda" else str(value)
