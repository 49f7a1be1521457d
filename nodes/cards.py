"""What makers' data sheets promise of a card: single precision without sparsity, and memory bandwidth. Pure.

A sheet is a promise, not a measurement, and pages say so. A card that is not here is unknown, never 0.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Sheet(NamedTuple):
    """GFLOPS in FP32 and GB/s of memory, of one card."""

    gflops: int
    bandwidth_gbs: int


# Names as the driver gives them, without the maker's; the first that begins a card's name counts.
SHEETS = {
    "H200": Sheet(67_000, 4800),
    "H100 PCIe": Sheet(51_000, 2000),
    "H100 80GB HBM3": Sheet(67_000, 3350),
    "A100-SXM4-80GB": Sheet(19_500, 2039),
    "A100-SXM4-40GB": Sheet(19_500, 1555),
    "A100 80GB PCIe": Sheet(19_500, 1935),
    "A100-PCIE-40GB": Sheet(19_500, 1555),
    "L40S": Sheet(91_600, 864),
    "L40": Sheet(90_500, 864),
    "L4": Sheet(30_300, 300),
    "A40": Sheet(37_400, 696),
    "A10G": Sheet(31_200, 600),
    "A10": Sheet(31_200, 600),
    "T4": Sheet(8_100, 320),
    "V100-SXM2": Sheet(15_700, 900),
    "V100-PCIE": Sheet(14_000, 900),
    "RTX 6000 Ada": Sheet(91_100, 960),
    "RTX A6000": Sheet(38_700, 768),
    "RTX A5000": Sheet(27_800, 768),
    "RTX A4000": Sheet(19_200, 448),
    "RTX 5090": Sheet(104_800, 1792),
    "RTX 5080": Sheet(56_300, 960),
    "RTX 4090": Sheet(82_600, 1008),
    "RTX 4080": Sheet(48_700, 717),
    "RTX 4070 Ti": Sheet(40_100, 504),
    "RTX 4070": Sheet(29_100, 504),
    "RTX 3090 Ti": Sheet(40_000, 1008),
    "RTX 3090": Sheet(35_600, 936),
    "RTX 3080": Sheet(29_800, 760),
    "RTX 3070": Sheet(20_300, 448),
    "RTX 3060": Sheet(12_700, 360),
    "RTX 2080 Ti": Sheet(13_400, 616),
}
# What the sheets of other cards do not tell of: variants that share the beginning of a name.
VARIANT = re.compile(r" ?(?:SUPER|Ti|D|Laptop|Max-Q|MIG|NVL|12GB|8GB)\b")


def data_sheet(model: str) -> Sheet | None:
    """Return what is promised of a card by its driver's name, such as `NVIDIA GeForce RTX 4090`."""
    name = re.sub(r"^(?:NVIDIA |GeForce |Tesla |Quadro )+", "", model)
    for known, sheet in SHEETS.items():
        rest = name.removeprefix(known)
        if rest != name and not rest[:1].isalnum():
            return None if VARIANT.match(rest) else sheet
    return None
