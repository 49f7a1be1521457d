"""The self-test: each check measured, required, and what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostagent import netpol
from hostagent.protocol import SelfTestResult

GB = 1_000_000_000
MIN_DISK_GB = 2
# runc before these lets a container write to the host's /proc (CVE-2025-31133 and two more).
RUNC_FIXED = "1.2.8"

Check = Callable[[dict[str, Any], Path], SelfTestResult]


def check_engine(info: dict[str, Any], folder: Path) -> SelfTestResult:
    version = str(info.get("ServerVersion", ""))
    return SelfTestResult(
        check="docker",
        code="docker_missing",
        severity="refuse",
        passed=bool(version),
        measured=version or "no answer",
        required="a running Docker Engine",
        remedy="Install Docker Engine and start it.",
    )


def check_storage(info: dict[str, Any], folder: Path) -> SelfTestResult:
    driver = str(info.get("Driver", ""))
    return SelfTestResult(
        check="storage_driver",
        code="storage_driver_slow",
        severity="degrade",
        passed=driver in {"overlay2", "btrfs", "zfs", "overlayfs"},
        measured=driver,
        required="overlay2 or btrfs",
        remedy="Put the engine's data-root on ext4, xfs or btrfs.",
    )


def check_disk(info: dict[str, Any], folder: Path) -> SelfTestResult:
    free = shutil.disk_usage(folder).free // GB
    return SelfTestResult(
        check="disk",
        code="disk_small",
        severity="refuse",
        passed=free >= MIN_DISK_GB,
        measured=f"{free} GB free",
        required=f"{MIN_DISK_GB} GB",
        remedy="Free some space or use a larger disk.",
    )


def check_firewall(info: dict[str, Any], folder: Path) -> SelfTestResult:
    """Proves by a packet that a rental cannot reach this host."""
    measured = "a packet from a rental's network is stopped"
    try:
        netpol.load()
        proven = netpol.prove()
    except (netpol.NetworkPolicyError, OSError) as error:
        proven, measured = False, str(error)
    return SelfTestResult(
        check="firewall",
        code="firewall_unproven",
        severity="refuse",
        passed=proven,
        measured=measured if proven else f"not proven: {measured}"[:300],
        required="rentals cannot reach this host, its network or cloud metadata",
        remedy="Install nftables and iproute2 and run the agent as root.",
    )


def check_runc(info: dict[str, Any], folder: Path) -> SelfTestResult:
    commit = str((info.get("RuncCommit") or {}).get("ID", ""))
    version = commit.split("-")[0].split("+")[0]
    return SelfTestResult(
        check="runc",
        code="runc_vulnerable",
        severity="degrade",
        passed=_numbers(version) >= _numbers(RUNC_FIXED) and bool(_numbers(version)),
        measured=commit or "unknown",
        required=f"runc {RUNC_FIXED} or a distribution's fixed package",
        remedy="Upgrade runc; without it a container may write to the host's /proc.",
    )


def check_seccomp(info: dict[str, Any], folder: Path) -> SelfTestResult:
    options = " ".join(info.get("SecurityOptions") or [])
    return SelfTestResult(
        check="seccomp",
        code="seccomp_missing",
        severity="refuse",
        passed="seccomp" in options,
        measured=options or "none",
        required="seccomp",
        remedy="Use a kernel with seccomp and an engine built with it.",
    )


def check_root(info: dict[str, Any], folder: Path) -> SelfTestResult:
    return SelfTestResult(
        check="root",
        code="not_root",
        severity="refuse",
        passed=os.geteuid() == 0,
        measured=f"uid {os.geteuid()}",
        required="uid 0",
        remedy="Run the agent as root: it loads firewall rules and drives the engine.",
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()


CHECKS: tuple[Check, ...] = (
    check_root,
    check_engine,
    check_storage,
    check_seccomp,
    check_runc,
    check_disk,
    check_firewall,
)


def run_all(info: dict[str, Any], folder: Path) -> list[SelfTestResult]:
    """Run every check; `info` is what the engine says of itself, `folder` the agent's state folder."""
    return [check(info, folder) for check in CHECKS]
