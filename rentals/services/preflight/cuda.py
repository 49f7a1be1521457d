"""What an image needs of the driver, in the words that NVIDIA's container runtime reads. Pure.

`NVIDIA_REQUIRE_*` holds alternatives with spaces between, each of which is a list of demands with commas
between: `cuda>=12.4 brand=tesla,driver>=535,driver<536`. The runtime refuses to start what no alternative allows.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_ALTERNATIVES = 200
_DEMAND = re.compile(r"([a-z]{1,20})(!=|>=|<=|=|>|<)(.{1,60})")
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,5}){0,2}")
_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,  # type: ignore[dict-item]  # both are tuples of numbers
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    "<": operator.lt,  # type: ignore[dict-item]
}
Version = tuple[int, int, int]


@dataclass(frozen=True)
class Driver:
    """What a machine's cards have; None is unknown. `cuda` is the newest that the driver can."""

    cuda: Version | None
    driver: Version | None
    capability: Version | None


def needs_card(env: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether an image says that it is made for NVIDIA cards."""
    asks = any(name.startswith("NVIDIA_REQUIRE_") or name == "CUDA_VERSION" for name in env)
    return asks or "com.nvidia.volumes.needed" in labels


def needed(env: Mapping[str, str]) -> list[str]:
    """Return every demand line of an image, unless it switches them off."""
    if env.get("NVIDIA_DISABLE_REQUIRE", "").lower() in {"1", "true", "t"}:
        return []
    return [value for name, value in sorted(env.items()) if name.startswith("NVIDIA_REQUIRE_")]


def allows(line: str, has: Driver) -> bool | None:
    """Whether a driver satisfies one line of alternatives; None when it cannot be told."""
    told = [_all(part.split(","), has) for part in line.split()[:MAX_ALTERNATIVES]]
    if not told or True in told:
        return True
    return None if None in told else False


def _all(demands: list[str], has: Driver) -> bool | None:
    told = [_one(demand, has) for demand in demands if demand]
    if False in told:
        return False
    return None if None in told else True


def _one(demand: str, has: Driver) -> bool | None:
    match = _DEMAND.fullmatch(demand)
    if match is None:
        return None
    name, sign, wanted = match.groups()
    known = {"cuda": has.cuda, "driver": has.driver, "arch": has.capability}.get(name)
    asked = version(wanted)
    if known is None or asked is None:
        return None
    return _COMPARE[sign](known, asked)


def version(text: str) -> Version | None:
    """Return `12.4` as (12, 4, 0); None for what is none."""
    if not _VERSION.fullmatch(text):
        return None
    numbers = [*map(int, text.split(".")), 0, 0]
    return numbers[0], numbers[1], numbers[2]


def shown(found: Version | None) -> str:
    """Return (12, 4, 0) as `12.4`."""
    return "unknown" if found is None else f"{found[0]}.{found[1]}"
