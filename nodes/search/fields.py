"""Every field that renters elsewhere look for, and what we know of it: one name and one unit everywhere.

`docs/offer-fields.md` is made from this table, the query parser and the column snapshot read it. A field
without a kind is one that nobody measures yet: it is null in the API, – on pages, and no query may use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a field is asked for."""

    NUMBER = "number"  # name=, name_min=, name_max=
    TEXT = "text"  # name= (any of several), name_not=
    FLAG = "flag"  # name=true or false
    ASKED = "asked"  # what the renter asks for; it decides prices and what can start
    ANSWER = "answer"  # worked out for what is asked; in answers only


@dataclass(frozen=True)
class Field:
    """One field. `theirs` is its word in other markets' searches; `facet` fields are counted by value."""

    name: str
    theirs: str
    unit: str = ""
    kind: Kind | None = None
    facet: bool = False
    note: str = ""


def unknown(name: str, theirs: str, unit: str = "") -> Field:
    """Return a field that nobody measures yet."""
    return Field(name, theirs, unit)


N, T, F = Kind.NUMBER, Kind.TEXT, Kind.FLAG
GROUPS: dict[str, tuple[Field, ...]] = {
    "GPU": (
        Field("gpu_model", "gpu_name", "", T, facet=True, note="as the driver names it"),
        Field("gpus", "num_gpus", "cards", Kind.ASKED, note="0: a machine without a card, whole"),
        Field("gpu_total", "machine's cards", "cards", N),
        Field("gpu_free", "cards free now", "cards", N),
        Field("vram_mib", "gpu_ram", "MiB", N, note="of one card, the least of the machine's"),
        Field("vram_total_mib", "gpu_total_ram", "MiB", Kind.ANSWER, note="of the cards asked for"),
        Field("gpu_share_bp", "gpu_frac", "1/10000", Kind.ANSWER, note="cards asked for of all"),
        Field("gpu_vendor", "gpu_arch", "", T),
        Field("compute_capability", "compute_cap", "×100", N, note="8.9 is 890"),
        Field("cuda", "cuda_vers", "×100", N, note="12.4 is 1240"),
        Field("driver", "driver_version", "number", N, note="550.54.15 is 550054015"),
        Field("memory_bandwidth_gbs", "gpu_mem_bw", "GB/s", N, note="of one card, by data sheet"),
        unknown("nvlink_gbs", "bw_nvlink", "GB/s"),
        unknown("gpu_power_limit_w", "gpu_max_power", "W"),
        unknown("gpu_temperature_limit_c", "gpu_max_temp", "°C"),
        unknown("display_attached", "gpu_display_active"),
        Field("gflops", "total_flops", "GFLOPS", N, note="FP32 of one card, by data sheet"),
        unknown("gpu_socket", "socket PCIe/SXM"),
        unknown("interconnect", "interconnect type"),
        unknown("interconnect_mbits", "interconnect rate", "Mbit/s"),
        Field("mig", "MIG slice", "", F, note="a card of the machine is cut by MIG"),
    ),
    "Host": (
        Field("cpu_model", "CPU model", "", T),
        Field("cpu_cores", "cpu_cores", "cores", N, note="of the machine"),
        Field("cpu_cores_yours", "cpu_cores_effective", "cores", Kind.ANSWER),
        unknown("cpu_mhz", "GHz", "MHz"),
        Field("architecture", "arch", "", T, note="amd64, arm64"),
        unknown("avx", "AVX"),
        Field("memory_mib", "RAM", "MiB", N, note="of the machine"),
        Field("memory_mib_yours", "RAM you get", "MiB", Kind.ANSWER),
        unknown("board", "mobo_name"),
        Field("pcie_generation", "PCIe gen", "", N),
        Field("pcie_lanes", "lanes", "lanes", N),
        unknown("pcie_gbs", "pcie_bw", "GB/s"),
        Field("os", "OS version", "", T),
        unknown("vm_capable", "vms_enabled"),
        unknown("docker_in_docker", "Docker-in-Docker"),
        Field("tier", "machine class", "", T, facet=True, note="CPU, CONSUMER_GPU, HPC"),
        Field("isolation", "isolation", "", T, facet=True, note="runtime of containers"),
        Field("simulated", "made up for tests", "", F),
    ),
    "Disk": (
        Field("disk_gb", "disk_space", "GB (10⁹)", Kind.ASKED, note="in answers: what is left"),
        Field("disk_quota", "size enforced", "", F, note="false: the limit is soft"),
        unknown("disk_name", "disk name"),
        unknown("disk_read_mbs", "disk_bw", "MB/s"),
        unknown("volume_gb_per_dollar", "avail_vol_*", "GB"),
        unknown("network_disk_mbs", "network disk min/avg/max", "MB/s"),
    ),
    "Network": (
        unknown("down_mbits", "inet_down", "Mbit/s"),
        unknown("up_mbits", "inet_up", "Mbit/s"),
        Field("down_gb_price", "inet_down_cost", "currency/GB", Kind.ANSWER, note="0.00 everywhere"),
        Field("up_gb_price", "inet_up_cost", "currency/GB", Kind.ANSWER, note="0.00: counted, not billed"),
        unknown("open_ports", "direct ports"),
        unknown("static_ip", "static IP"),
        unknown("public_ip", "public IP"),
    ),
    "Price": (
        Field("compute_hourly", "dph_base", "currency/h", Kind.ANSWER, note="one card, or the machine"),
        Field("price_hourly", "dph_total", "currency/h", N, note="all-in for what is asked"),
        Field("hours", "for how long", "h", Kind.ASKED),
        Field("price_total", "price of the hours", "currency", Kind.ANSWER, note="all-in for the hours"),
        Field("minimum_hourly", "(nobody's) least price", "currency/h", Kind.ANSWER, note="of a rental's compute"),
        unknown("floor_bid_hourly", "min_bid", "currency/h"),
        Field("storage_gb_monthly", "storage cost", "currency/GB-month", Kind.ANSWER),
        unknown("prepay_discount_bp", "credit_discount_max", "1/10000"),
        unknown("platform_fee_bp", "platform fee", "1/10000"),
        unknown("benchmark_per_dollar", "DLPerf per $"),
        Field("value", "TFLOPS per $", "TFLOPS per currency/h", Kind.ANSWER, note="FP32 by data sheet"),
    ),
    "Trust": (
        unknown("verified", "verified / deverified"),
        unknown("datacenter", "datacenter"),
        Field("reliability_bp", "reliability", "1/10000", N, note="heard from, of the last 30 days"),
        unknown("expected_reliability_bp", "expected reliability", "1/10000"),
        unknown("reports", "reports count"),
        unknown("compliance", "compliance tags"),
        unknown("start_success_bp", "(nobody's) start-success rate", "1/10000"),
        unknown("host_response_seconds", "(nobody's) host response time", "s"),
        unknown("sustained_clock_mhz", "(nobody's) sustained clock under load", "MHz"),
    ),
    "Place and time": (
        Field("country", "country", "", T, facet=True, note="ISO 3166, two letters"),
        Field("region", "region", "", T, facet=True),
        unknown("longest_days", "max rental duration", "days"),
        unknown("ends_at", "end date"),
        unknown("starts_at", "start date"),
        Field("id", "machine id", "", Kind.ANSWER, note="of the offer: one a machine"),
        unknown("host_id", "host id"),
        unknown("cluster_id", "cluster id"),
    ),
    "State": (
        Field("listed", "rentable", "", Kind.ANSWER, note="only what can start now is shown"),
        unknown("rented", "rented"),
        unknown("hosting_type", "hosting type"),
        unknown("stock", "stock word"),
        Field("ready_seconds", "provisioning_time", "s", N, note="order to running, newest weigh most"),
        unknown("image_cached", "(nobody's) image already here"),
        unknown("price_with_bandwidth", "(nobody's) price with bandwidth", "currency/h"),
    ),
}  # fmt: skip
FIELDS: dict[str, Field] = {each.name: each for group in GROUPS.values() for each in group}
FACETS = tuple(each.name for each in FIELDS.values() if each.facet)
# The columns of an offer that a query compares with what somebody types.
NUMBERS = tuple(f.name for f in FIELDS.values() if f.kind is N and f.name != "price_hourly")
TEXTS = tuple(f.name for f in FIELDS.values() if f.kind is T)
FLAGS = tuple(f.name for f in FIELDS.values() if f.kind is F)

HEAD = """# Fields of an offer

Made from `nodes/search/fields.py` by `./run schema`; do not edit. One name and one unit everywhere: page, API,
command line. Disks are counted in GB (10⁹ bytes), memory in MiB. What is not known is `null` in the API and – on
pages, never 0, and satisfies no filter. *Unknown* marks what renters filter on elsewhere and nobody measures here yet.

How to ask: a *number* by `name=`, `name_min=`, `name_max=` (bounds included); a *text* by `name=`, repeated for any of
several, and `name_not=`; a *flag* by `name=true` or `false`; what is *asked* decides prices and what can start; an
*answer* is worked out for it.
"""


def as_markdown() -> str:
    """Return the map as a document."""
    parts = [HEAD]
    for group, fields in GROUPS.items():
        rows = [
            f"| {each.theirs} | {f'`{each.name}`' if each.kind else 'unknown'} | {each.unit} "
            f"| {each.kind or ''} | {each.note} |"
            for each in fields
        ]
        head = ["| elsewhere | ours | unit | kind | note |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"## {group}\n", *head, *rows, ""]))
    return "\n".join(parts)
