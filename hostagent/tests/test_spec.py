"""The container of a rental, option by option, against the committed picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec

from hostagent.protocol import ContainerSpec, ResourceLimits
from hostagent.spec import MachineLimits, Place, clean_env, container_config, degraded

GOLDEN = Path(__file__).parent / "container.golden.json"
ROOMY = MachineLimits(nofile=-1, memlock=-1, cores=64, disk_quota=True, apparmor=True)
SPEC = ContainerSpec(
    image="registry.example.org/pytorch@sha256:00",
    hostname="r-1234",
    env_vars={"TOKEN": "x", "NVIDIA_VISIBLE_DEVICES": "all", "LD_PRELOAD": "/evil.so"},
    command=["sleep", "inf"],
    ssh_keys=["ssh-ed25519 AAAA alice"],
    ssh_port=22,
    resource_limits=ResourceLimits(
        gpu_uuids=["GPU-1"],
        gpu_indices=["0"],
        cpu_cores=4,
        memory_mib=16_384,
        ram_limit="16384m",
        disk_gb=50,
        shm_mib=8192,
        pids=4096,
    ),
    proxy_port_mapping={"22": 20_000},
)
PLACE = Place(
    name="dc-w-g1",
    network="dc-w-g1",
    address="10.213.0.2",
    keys_file="/var/lib/dcompute-agent/keys/w",
    labels={"dc.node": "n", "dc.workload": "w"},
)


def test_the_container_is_exactly_the_golden_one() -> None:
    assert container_config(SPEC, PLACE, ROOMY) == json.loads(GOLDEN.read_text())


def test_what_a_machine_cannot_hold_is_clamped_and_named() -> None:
    poor = MachineLimits(
        nofile=20_000, memlock=8_388_608, cores=2, disk_quota=False, apparmor=False
    )
    host = container_config(SPEC, PLACE, poor)["HostConfig"]
    assert host["NanoCpus"] == 2_000_000_000
    assert "StorageOpt" not in host
    assert {"Name": "nofile", "Soft": 20_000, "Hard": 20_000} in host["Ulimits"]
    assert degraded(SPEC, ROOMY) == []
    assert degraded(SPEC, poor) == [
        "nofile_clamped",
        "memlock_clamped",
        "disk_soft",
        "cpu_clamped",
        "apparmor_absent",
    ]


def test_a_machine_without_cards_is_asked_for_none() -> None:
    spec = replace_limits(gpu_uuids=[])
    assert container_config(spec, PLACE, ROOMY)["HostConfig"]["DeviceRequests"] == []


def replace_limits(**changes: object) -> ContainerSpec:
    limits = msgspec.structs.replace(SPEC.resource_limits, **changes)
    return msgspec.structs.replace(SPEC, resource_limits=limits)


def test_names_that_reach_for_other_peoples_gpus_are_not_passed_on() -> None:
    assert clean_env(SPEC.env_vars) == ["TOKEN=x"]


def test_no_host_namespace_no_published_port_no_privilege() -> None:
    host = container_config(SPEC, replace(PLACE), ROOMY)["HostConfig"]
    assert host["Privileged"] is False
    assert host["PublishAllPorts"] is False
    assert host["PortBindings"] == {}
    for forbidden in ("PidMode", "UTSMode", "UsernsMode", "VolumesFrom", "Links", "ExtraHosts"):
        assert forbidden not in host
