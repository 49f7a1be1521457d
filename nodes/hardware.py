"""From what an agent says of its machine to the typed columns of an offer. What it does not say stays null.

A machine's cards are rented in any combination, so of cards that differ an offer promises the least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unicodedata import normalize

from nodes.cards import data_sheet
from nodes.models import Node

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LARGEST_SMALL = 32_767


def host_columns(node: Node) -> dict[str, Any]:
    """Return the columns of the machine itself."""
    machine = str(node.facts.get("architecture", ""))[:20]
    return {
        "tier": node.tier,
        "cpu_model": str(node.facts.get("cpu_model", ""))[:200],
        "cpu_cores": node.cpu_cores,
        "memory_mib": node.memory_mib,
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": str(node.facts.get("os", ""))[:200],
        "region": node.region,
        "country": node.country,
        "isolation": str(node.facts.get("isolation", "runc"))[:20],
        "disk_quota": bool(node.facts.get("disk_quota", False)),
    }


def card_columns(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns of a machine's cards (each as its agent told it); all unknown without a card."""
    names = [plain_name(str(card["model"])) for card in cards]
    models, sheets = sorted(set(names)), [data_sheet(name) for name in names]
    return {
        "gpu_model": " + ".join(models)[:200],
        "gpu_vendor": "nvidia" if cards else "",
        "vram_mib": _least(card.get("vram_mib") or None for card in cards),
        "gflops": _least(sheet and sheet.gflops for sheet in sheets),
        "memory_bandwidth_gbs": _least(sheet and sheet.bandwidth_gbs for sheet in sheets),
        "compute_capability": _least(_hundreds(card.get("compute_capability")) for card in cards),
        "cuda": _least(_hundreds(card.get("cuda")) for card in cards),
        "driver": _least(driver_number(card.get("driver")) for card in cards),
        "mig": any(card.get("mig_enabled") for card in cards) if cards else None,
        "pcie_generation": _least(_small(card.get("pcie_generation")) for card in cards),
        "pcie_lanes": _least(_small(card.get("pcie_width")) for card in cards),
    }


def plain_name(told: str) -> str:
    """Return a name without signs that nobody sees, so that what looks the same is the same."""
    seen = "".join(sign if sign.isprintable() else " " for sign in normalize("NFKC", told))
    return " ".join(seen.split())


def driver_number(version: object) -> int | None:
    """Return `550.54.15` as 550054015, so that versions compare as numbers do; None for anything else."""
    parts = _numbers(version)
    if parts is None or not 1 <= len(parts) <= 3 or max(parts) >= 1000:
        return None
    major, minor, patch = [*parts, 0, 0][:3]
    return (major * 1000 + minor) * 1000 + patch


def _hundreds(version: object) -> int | None:
    """Return `8.9` as 890 and `12.4` as 1240."""
    parts = _numbers(version)
    if parts is None or len(parts) != 2 or parts[0] >= 300 or parts[1] >= 10:
        return None
    return parts[0] * 100 + parts[1] * 10


def _numbers(version: object) -> list[int] | None:
    parts = str(version or "").split(".")
    plain = all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts)
    return [int(part) for part in parts] if plain else None


def _small(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value <= LARGEST_SMALL else None


def _least(values: Iterable[int | None]) -> int | None:
    """Return the least of the values, or None when one of them is unknown or there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return min(known) if found and len(known) == len(found) else None
