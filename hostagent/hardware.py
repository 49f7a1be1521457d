"""What this machine is: measured here, believed by nobody until proven. No GPU is a normal answer."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pynvml

from hostagent.protocol import GpuFacts, HostFacts, Metrics

GB = 1_000_000_000
MIB = 1024 * 1024
# A card made for data centres makes the machine HPC (compute capability alone does not tell).
HPC_MODELS = (
    "A100",
    "A800",
    "H100",
    "H200",
    "H800",
    "B100",
    "B200",
    "GB200",
    "V100",
    "L40",
    "MI300",
)
# The agent and the engine need room of their own.
RESERVED_MEMORY_MIB = 512
RESERVED_DISK_GB = 5


def gpu_facts() -> list[GpuFacts]:
    """Return the NVIDIA cards, each value that a card does not support left out; no driver, no cards."""
    return [_gpu(index) for index in range(_count_cards())]


def _count_cards() -> int:
    """Load the driver's library if it is there; once loaded it stays, because loading can take seconds."""
    try:
        # Counts its callers, so that calling it again is cheap and finds a driver that came later.
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


def _ask(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None


def _gpu(index: int) -> GpuFacts:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    cuda = _ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mig = _ask(pynvml.nvmlDeviceGetMigMode, handle)
    return GpuFacts(
        uuid=_ask(pynvml.nvmlDeviceGetUUID, handle) or f"unknown-{index}",
        index=index,
        model=_ask(pynvml.nvmlDeviceGetName, handle) or "unknown",
        vram_mib=memory.total // MIB if memory else 0,
        pcie_generation=_ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_width=_ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        driver=_ask(pynvml.nvmlSystemGetDriverVersion) or "",
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        compute_capability=".".join(map(str, capability)) if capability else "",
        mig_enabled=bool(mig and mig[0]),
    )


def tier_of(gpus: list[GpuFacts]) -> str:
    """Return CPU, CONSUMER_GPU or HPC by the published rule: HPC_MODELS in any card's name."""
    if not gpus:
        return "CPU"
    hpc = any(model in gpu.model for gpu in gpus for model in HPC_MODELS)
    return "HPC" if hpc else "CONSUMER_GPU"


def host_facts(engine_info: dict[str, Any], *, storage: Path) -> HostFacts:
    """Return the whole profile.

    Args:
        engine_info: what the engine says of itself (`docker info`).
        storage: a folder on the disk that rentals will use.
    """
    gpus = gpu_facts()
    disk = shutil.disk_usage(storage)
    facts = HostFacts(
        hostname=platform.node()[:200],
        os=_os_name(),
        kernel=platform.release(),
        architecture=platform.machine(),
        cpu_model=_cpu_model(),
        cpu_cores=len(os.sched_getaffinity(0)),
        memory_mib=max(512, psutil.virtual_memory().total // MIB - RESERVED_MEMORY_MIB),
        disk_gb=disk.total // GB,
        disk_free_gb=max(0, disk.free // GB - RESERVED_DISK_GB),
        docker_version=str(engine_info.get("ServerVersion", "")),
        docker_storage_driver=str(engine_info.get("Driver", "")),
        runc_version=str((engine_info.get("RuncCommit") or {}).get("ID", "")),
        nvidia_driver=gpus[0].driver if gpus else "",
        tier=tier_of(gpus),
        gpus=gpus,
        isolation="runc",
        disk_quota=has_disk_quota(engine_info),
        virtualisation="container" if Path("/.dockerenv").exists() else "",
    )
    return msgspec.structs.replace(facts, digest=_digest(facts))


def has_disk_quota(engine_info: dict[str, Any], mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the engine's storage enforces a size for each container: btrfs, or xfs mounted with project quotas."""
    status = dict(engine_info.get("DriverStatus") or [])
    if engine_info.get("Driver") == "btrfs":
        return True
    if engine_info.get("Driver") != "overlay2" or status.get("Backing Filesystem") != "xfs":
        return False
    options = _mount_options(Path(str(engine_info.get("DockerRootDir") or "/")), mounts)
    return not options.isdisjoint({"prjquota", "pquota"})


def _mount_options(folder: Path, mounts: Path) -> set[str]:
    """Return the options of the mount on which a folder lies, as the kernel tells them."""
    found: tuple[int, set[str]] = (-1, set())
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            point, options = Path(line.split()[1].replace("\\040", " ")), line.split()[3]
            if folder.is_relative_to(point) and len(point.parts) >= found[0]:
                found = len(point.parts), set(options.split(","))
    return found[1]


def _digest(facts: HostFacts) -> str:
    """Return a short hash of what does not change while the machine is the same."""
    fixed = [facts.cpu_model, facts.cpu_cores, [gpu.uuid for gpu in facts.gpus], facts.architecture]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:32]


def _os_name() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return platform.system()


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()[:200]
    return platform.processor()[:200]


def metrics(storage: Path) -> Metrics:
    """Return the figures of one heartbeat; nothing here blocks."""
    network = psutil.net_io_counters()
    cards = [_card_metrics(index) for index in range(_count_cards())]
    return Metrics(
        cpu_temp=_cpu_temperature(),
        gpu_temp=[card["gpu_temp"] for card in cards],
        gpu_utilization=[card["gpu_utilization"] for card in cards],
        gpu_mem_used_mib=[card["gpu_mem_used_mib"] for card in cards],
        gpu_power_w=[card["gpu_power_w"] for card in cards],
        cpu_util_pct=psutil.cpu_percent(),
        ram_used_mib=psutil.virtual_memory().used // MIB,
        disk_used_gb=shutil.disk_usage(storage).used // GB,
        load_1m=os.getloadavg()[0],
        net_rx_bytes=network.bytes_recv,
        net_tx_bytes=network.bytes_sent,
    )


def card_use(uuids: Sequence[str]) -> list[float | None]:
    """Return how busy each of these cards is, in percent; None for one that does not tell."""
    _count_cards()
    uses = []
    for uuid in uuids:
        handle = _ask(pynvml.nvmlDeviceGetHandleByUUID, uuid)
        use = None if handle is None else _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
        uses.append(None if use is None else float(use.gpu))
    return uses


def _card_metrics(index: int) -> dict[str, Any]:
    """Return what one card tells of itself now, under the names of `Metrics`; None for what it does not."""
    handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
    use = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    power = _ask(pynvml.nvmlDeviceGetPowerUsage, handle)
    return {
        "gpu_temp": _ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        "gpu_utilization": use and use.gpu,
        "gpu_mem_used_mib": memory and memory.used // MIB,
        "gpu_power_w": None if power is None else power / 1000,
    }


def _cpu_temperature() -> float | None:
    for readings in psutil.sensors_temperatures().values():
        for reading in readings:
            return float(reading.current)
    return None


def engine_rlimits() -> tuple[int, int]:
    """Return the hard limits (nofile, memlock bytes; -1 none) of dockerd, else our own."""
    for status in Path("/proc").glob("[0-9]*/comm"):
        try:
            if status.read_text().strip() == "dockerd":
                return _read_limits(status.parent / "limits")
        except OSError:
            continue
    values = (
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],
    )
    return values[0], values[1]


def _read_limits(path: Path) -> tuple[int, int]:
    hard = {"Max open files": -1, "Max locked memory": -1}
    for line in path.read_text().splitlines():
        for name in hard:
            if line.startswith(name):
                word = line[len(name) :].split()[1]
                hard[name] = -1 if word == "unlimited" else int(word)
    return hard["Max open files"], hard["Max locked memory"]
