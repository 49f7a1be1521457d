"""What a machine says of itself: cards that tell everything, cards that tell nothing, and no cards at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from hostagent import checks, hardware, netpol

GIB = 1024**3


class Driver:
    """A fake at the border: the calls of NVIDIA's library, as a machine with `cards` answers them."""

    def __init__(self, cards: list[dict[str, Any]]) -> None:
        self.cards = cards

    def plug_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(self.cards))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda i: self.cards[i])
        for call in (
            "nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMigMode",
            "nvmlDeviceGetCudaComputeCapability", "nvmlDeviceGetMaxPcieLinkGeneration",
            "nvmlDeviceGetMaxPcieLinkWidth", "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature",
        ):  # fmt: skip
            monkeypatch.setattr(pynvml, call, self._asked(call))
        monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "570.86")
        monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: 12_080)

    @staticmethod
    def _asked(call: str) -> Callable[..., Any]:
        def answer(card: dict[str, Any], *_: Any) -> Any:
            if call not in card:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return card[call]

        return answer


H200 = {
    "nvmlDeviceGetUUID": "GPU-1",
    "nvmlDeviceGetName": "NVIDIA H200",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=141 * GIB, used=2 * GIB),
    "nvmlDeviceGetMigMode": (1, 1),
    "nvmlDeviceGetCudaComputeCapability": (9, 0),
    "nvmlDeviceGetMaxPcieLinkGeneration": 5,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=73),
    "nvmlDeviceGetPowerUsage": 412_500,
    "nvmlDeviceGetTemperature": 61,
}


def test_a_card_is_profiled_and_makes_the_machine_hpc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Driver([H200]).plug_in(monkeypatch)
    facts = hardware.host_facts({"ServerVersion": "27.1"}, storage=tmp_path)
    [card] = facts.gpus
    assert (card.uuid, card.model, card.vram_mib) == ("GPU-1", "NVIDIA H200", 141 * 1024)
    assert (card.pcie_generation, card.pcie_width, card.mig_enabled) == (5, 16, True)
    assert (card.driver, card.cuda, card.compute_capability) == ("570.86", "12.8", "9.0")
    assert (facts.tier, facts.nvidia_driver) == ("HPC", "570.86")


def test_a_card_that_tells_nothing_is_still_a_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Driver([{}]).plug_in(monkeypatch)
    [card] = hardware.gpu_facts()
    assert (card.uuid, card.model, card.vram_mib) == ("unknown-0", "unknown", 0)
    assert (card.pcie_generation, card.compute_capability, card.mig_enabled) == (None, "", False)
    metrics = hardware.metrics(tmp_path)
    assert (metrics.gpu_temp, metrics.gpu_power_w) == ([None], [None])


def test_a_heartbeat_has_one_figure_for_each_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Driver([H200, {}]).plug_in(monkeypatch)
    metrics = hardware.metrics(tmp_path)
    assert metrics.gpu_utilization == [73, None]
    assert metrics.gpu_mem_used_mib == [2048, None]
    assert metrics.gpu_power_w == [412.5, None]
    assert metrics.gpu_temp == [61, None]
    assert metrics.ram_used_mib > 0


def test_no_driver_is_a_normal_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def away() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", away)
    facts = hardware.host_facts({}, storage=tmp_path)
    assert (facts.gpus, facts.tier, facts.nvidia_driver) == ([], "CPU", "")
    assert (facts.docker_version, facts.runc_version) == ("", "")
    assert facts.cpu_cores >= 1
    assert facts.memory_mib >= 512
    assert hardware.metrics(tmp_path).gpu_utilization == []


def test_the_same_machine_has_the_same_digest_and_another_card_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Driver([H200]).plug_in(monkeypatch)
    first, again = (hardware.host_facts({}, storage=tmp_path).digest for _ in range(2))
    Driver([{**H200, "nvmlDeviceGetUUID": "GPU-2"}]).plug_in(monkeypatch)
    other = hardware.host_facts({}, storage=tmp_path).digest
    assert first == again != other
    assert len(first) == 32


@pytest.mark.parametrize(
    ("driver", "backing", "options", "enforced"),
    [
        ("overlay2", "xfs", "rw,prjquota", True),
        ("overlay2", "xfs", "rw,pquota", True),
        ("overlay2", "xfs", "rw,noquota", False),
        ("overlay2", "extfs", "rw,prjquota", False),
        ("btrfs", "", "rw", True),
        ("vfs", "xfs", "rw,prjquota", False),
        (None, None, "rw", False),
    ],
)
def test_a_disk_limit_is_enforced_only_where_the_storage_can(
    tmp_path: Path, driver: str | None, backing: str | None, options: str, enforced: bool
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw 0 0\n"
        f"/dev/b /var/lib xfs {options} 0 0\n"
        "/dev/c /var/lib/other xfs rw 0 0\n"
    )
    info = {
        "Driver": driver,
        "DriverStatus": [["Backing Filesystem", backing]] if backing else None,
        "DockerRootDir": "/var/lib/docker",
    }
    assert hardware.has_disk_quota(info, mounts) is enforced
    assert not hardware.has_disk_quota({**info, "Driver": "overlay2"}, tmp_path / "none")


def test_a_temperature_is_the_first_that_a_sensor_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    for sensors, expected in (
        ({}, None),
        ({"acpi": []}, None),
        ({"acpi": [], "coretemp": [SimpleNamespace(current=48.5)]}, 48.5),
    ):
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda found=sensors: found)
        assert hardware._cpu_temperature() == expected


def engine(**more: Any) -> dict[str, Any]:
    return {
        "ServerVersion": "27.1",
        "Driver": "overlay2",
        "RuncCommit": {"ID": "1.2.8"},
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        **more,
    }


@pytest.mark.parametrize(
    ("commit", "passed"),
    [
        ("v1.2.8", False),  # not a version that can be compared: unknown is not safe
        ("1.2.8", True),
        ("1.3.0-rc.1-0-gabc", True),
        ("1.2.10+ds1", True),
        ("1.2.7", False),
        ("", False),
    ],
)
def test_an_old_or_unknown_runc_degrades(tmp_path: Path, commit: str, passed: bool) -> None:
    result = checks.check_runc(engine(RuncCommit={"ID": commit}), tmp_path)
    assert (result.passed, result.severity) == (passed, "degrade")
    assert result.measured == (commit or "unknown")


def test_a_check_says_what_it_measured_and_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = checks.check_engine({}, tmp_path)
    assert (nothing.passed, nothing.measured) == (False, "no answer")
    usage = SimpleNamespace(total=10**12, used=0, free=1_999_999_999)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    disk = checks.check_disk(engine(), tmp_path)
    assert (disk.passed, disk.measured, disk.required) == (False, "1 GB free", "2 GB")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    root = checks.check_root(engine(), tmp_path)
    assert (root.passed, root.measured, root.severity) == (False, "uid 1000", "refuse")


@pytest.mark.parametrize("proven", [True, False])
def test_the_firewall_counts_only_when_a_packet_proved_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proven: bool
) -> None:
    monkeypatch.setattr(netpol, "load", lambda: None)
    monkeypatch.setattr(netpol, "prove", lambda: proven)
    result = checks.check_firewall(engine(), tmp_path)
    assert (result.passed, result.severity) == (proven, "refuse")
    assert result.measured.startswith("not proven: ") is not proven


def test_rules_that_cannot_be_loaded_or_proven_say_which_program_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda *a, **k: None)
    with pytest.raises(netpol.NetworkPolicyError, match="install the package nftables"):
        netpol.load()
    assert netpol.prove() is False


def test_rules_that_nft_refuses_are_told_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nft = tmp_path / "nft"
    nft.write_text("#!/bin/sh\ncat >/dev/null\necho 'syntax error, unexpected drop' >&2\nexit 1\n")
    nft.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *a, **k: str(nft))
    with pytest.raises(netpol.NetworkPolicyError, match="syntax error, unexpected drop"):
        netpol.load()
    nft.write_text("#!/bin/sh\ncat >%s\n" % (tmp_path / "loaded"))
    netpol.load()
    assert "table inet dcompute" in (tmp_path / "loaded").read_text()
