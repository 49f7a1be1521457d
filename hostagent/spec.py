"""The container of a rental, option by option. Pure: spec and machine in, the engine's JSON out.

Everything is closed unless it is opened here. What a machine cannot hold is left out by a named rule
of DEGRADED and reported with the workload, so that the renter sees it; nothing is dropped silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hostagent.protocol import ContainerSpec

# Docker's default set without MKNOD, NET_RAW and SETFCAP: enough for sshd, useradd, su and apt.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETUID", "SETGID",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "AUDIT_WRITE",
)  # fmt: skip
KEYS_PATH = "/etc/dcompute/authorized_keys"
LAUNCH_PATH = "/etc/dcompute/launch"
NOFILE_WISH = (65_536, 1_048_576)
MIB = 1024 * 1024
# Values that an image or a renter could use to reach GPUs that are not theirs, or to hook the runtime.
FORBIDDEN_ENV = ("NVIDIA_", "LD_PRELOAD", "LD_LIBRARY_PATH")

DEGRADED = {
    "nofile_clamped": "the engine's own limit of open files is lower than what we ask for",
    "memlock_clamped": "the engine may not lock memory without limit",
    "disk_soft": "the engine's storage has no quota: the disk limit is watched, not enforced",
    "cpu_clamped": "the machine has fewer cores than the workload asks for",
    "apparmor_absent": "this kernel has no AppArmor",
}


@dataclass(frozen=True)
class MachineLimits:
    """What the engine of this machine can hold.

    `nofile` and `memlock` are hard limits (-1: none), `cores` the CPUs of the machine.
    """

    nofile: int
    memlock: int
    cores: int
    disk_quota: bool
    apparmor: bool


@dataclass(frozen=True)
class Place:
    """Where a workload's container lives on this machine."""

    name: str
    network: str
    address: str
    keys_file: str
    labels: dict[str, str]
    # Where it finds its launcher, and the image's own program that the launcher becomes; empty: neither.
    launch_folder: str = ""
    program: tuple[str, ...] = ()


def clean_env(env: dict[str, str]) -> list[str]:
    """Return `NAME=value` lines without the names that are not a renter's to set, sorted."""
    return sorted(
        f"{name}={value}" for name, value in env.items() if not name.startswith(FORBIDDEN_ENV)
    )


def needs_launcher(spec: ContainerSpec) -> bool:
    """Whether something of ours runs before the image's own program."""
    return bool(spec.secret_env or spec.start_script)


def program_of(spec: ContainerSpec, image: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that the engine would run: of the wish, else of the image (its `Config`)."""
    if spec.entrypoint is not None:
        return (*spec.entrypoint, *(spec.command or []))
    command = image.get("Cmd") if spec.command is None else spec.command
    return (*(image.get("Entrypoint") or []), *(command or []))


def exported(env: dict[str, str]) -> bytes:
    """Return the lines by which a shell takes these variables, and a last one that says they are whole."""
    lines = []
    for entry in clean_env(env):
        name, _, value = entry.partition("=")
        quoted = value.replace("'", "'\\''")
        lines.append(f"export {name}='{quoted}'\n")
    return "".join([*lines, "DC_VARIABLES=whole\n"]).encode()


def degraded(spec: ContainerSpec, limits: MachineLimits) -> list[str]:
    """Return the names of the rules of DEGRADED that apply to this workload here."""
    rules = {
        "nofile_clamped": 0 <= limits.nofile < NOFILE_WISH[1],
        "memlock_clamped": limits.memlock >= 0,
        "disk_soft": not limits.disk_quota,
        "cpu_clamped": spec.resource_limits.cpu_cores > limits.cores,
        "apparmor_absent": not limits.apparmor,
    }
    return [name for name, applies in rules.items() if applies]


def container_config(spec: ContainerSpec, place: Place, limits: MachineLimits) -> dict[str, Any]:
    """Return the body of the engine's `POST /containers/create`."""
    config: dict[str, Any] = {
        "Image": spec.image,
        "Hostname": spec.hostname,
        "Env": clean_env(spec.env_vars),
        "Labels": place.labels,
        "StopTimeout": spec.stop_timeout_s,
        "NetworkDisabled": False,
        "HostConfig": _host_config(spec, place, limits),
        "NetworkingConfig": {
            "EndpointsConfig": {place.network: {"IPAMConfig": {"IPv4Address": place.address}}}
        },
    }
    if place.launch_folder:
        config["Entrypoint"] = ["/bin/sh", f"{LAUNCH_PATH}/run"]
        config["Cmd"] = list(place.program)
        config["HostConfig"]["Binds"].append(f"{place.launch_folder}:{LAUNCH_PATH}:ro")
        return config
    if spec.entrypoint is not None:
        config["Entrypoint"] = spec.entrypoint
    if spec.command is not None:
        config["Cmd"] = spec.command
    return config


def _host_config(spec: ContainerSpec, place: Place, limits: MachineLimits) -> dict[str, Any]:
    wanted = spec.resource_limits
    memory = wanted.memory_mib * MIB
    host: dict[str, Any] = {
        "AutoRemove": False,
        "Binds": [f"{place.keys_file}:{KEYS_PATH}:ro"],
        "CapAdd": list(CAPABILITIES),
        "CapDrop": ["ALL"],
        "CgroupnsMode": "private",
        "Devices": [],
        "DeviceRequests": _gpus(wanted.gpu_uuids),
        "Init": True,
        "IpcMode": "private",
        "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}},
        "Memory": memory,
        "MemorySwap": memory,
        "MemoryReservation": memory // 2,
        "NanoCpus": min(wanted.cpu_cores, limits.cores) * 1_000_000_000,
        "NetworkMode": place.network,
        "OomScoreAdj": 500,
        "PidsLimit": wanted.pids,
        "PortBindings": {},
        "Privileged": False,
        "PublishAllPorts": False,
        "ReadonlyRootfs": False,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Runtime": "runc",
        "SecurityOpt": _security(limits),
        "ShmSize": wanted.shm_mib * MIB,
        "Ulimits": _ulimits(limits),
    }
    if limits.disk_quota:
        host["StorageOpt"] = {"size": f"{wanted.disk_gb}G"}
    return host


def _security(limits: MachineLimits) -> list[str]:
    # Without a seccomp line the engine uses its default profile; "unconfined" is never asked for.
    options = ["no-new-privileges:true"]
    return [*options, "apparmor=docker-default"] if limits.apparmor else options


def _gpus(uuids: list[str]) -> list[dict[str, Any]]:
    if not uuids:
        return []
    capabilities = [["gpu", "compute", "utility"]]
    return [{"Driver": "", "Count": 0, "DeviceIDs": uuids, "Capabilities": capabilities}]


def _ulimits(limits: MachineLimits) -> list[dict[str, Any]]:
    hard = NOFILE_WISH[1] if limits.nofile < 0 else min(NOFILE_WISH[1], limits.nofile)
    soft = min(NOFILE_WISH[0], hard)
    return [
        {"Name": "core", "Soft": 0, "Hard": 0},
        {"Name": "memlock", "Soft": limits.memlock, "Hard": limits.memlock},
        {"Name": "nofile", "Soft": soft, "Hard": hard},
    ]
