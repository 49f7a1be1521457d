"""A heartbeat's figures as lines of InfluxDB's line protocol, and back. Pure.

Whose figures they are is never the agent's word: the caller passes the node of the session.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from hostagent.protocol import Metrics

# What can be asked for: field -> (measurement, unit, attribute of Metrics).
FIELDS = {
    "cpu_util": ("node", "%", "cpu_util_pct"),
    "cpu_temp": ("node", "°C", "cpu_temp"),
    "ram_used": ("node", "MiB", "ram_used_mib"),
    "disk_used": ("node", "GB", "disk_used_gb"),
    "load_1m": ("node", "", "load_1m"),
    "net_rx": ("node", "bytes", "net_rx_bytes"),
    "net_tx": ("node", "bytes", "net_tx_bytes"),
    "gpu_temp": ("gpu", "°C", "gpu_temp"),
    "gpu_util": ("gpu", "%", "gpu_utilization"),
    "gpu_mem_used": ("gpu", "MiB", "gpu_mem_used_mib"),
    "gpu_power": ("gpu", "W", "gpu_power_w"),
}
MAX_GPUS = 64


class Series(NamedTuple):
    """One line of a chart: a field of a node, or of one of its cards (`gpu` is its index)."""

    node_id: str
    field: str
    gpu: int | None = None

    @property
    def measurement(self) -> str:
        """The measurement this field belongs to."""
        return FIELDS[self.field][0]


def lines_of(node_id: str, metrics: Metrics, at: int) -> list[str]:
    """Return one line for the node and one for each card; figures that are no finite numbers are left out.

    Args:
        node_id: the node of the session that sent the figures.
        at: epoch seconds by the platform's clock.
    """
    node = _values("node", metrics, None)
    lines = [f"node,node={node_id} {node} {at}"] if node else []
    cards = [
        len(getattr(metrics, attribute))
        for measurement, _, attribute in FIELDS.values()
        if measurement == "gpu"
    ]
    for index in range(min(MAX_GPUS, max(cards))):
        card = _values("gpu", metrics, index)
        if card:
            lines.append(f"gpu,node={node_id},gpu={index} {card} {at}")
    return lines


def _values(measurement: str, metrics: Metrics, index: int | None) -> str:
    pairs = []
    for field, (belongs_to, _, attribute) in FIELDS.items():
        if belongs_to != measurement:
            continue
        value = getattr(metrics, attribute)
        if index is not None:
            value = value[index] if index < len(value) else None
        if value is not None and math.isfinite(value):
            pairs.append(f"{field}={float(value)!r}")
    return ",".join(pairs)


def parse(line: str) -> Iterator[tuple[Series, int, float]]:
    """Yield (series, epoch seconds, value) of a line that `lines_of` has made."""
    head, values, at = line.split(" ")
    tags = dict(pair.split("=") for pair in head.split(",")[1:])
    gpu = int(tags["gpu"]) if "gpu" in tags else None
    for pair in values.split(","):
        field, _, value = pair.partition("=")
        yield Series(tags["node"], field, gpu), int(at), float(value)
