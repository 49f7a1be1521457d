"""One workload beside an engine that answers as a test wrote it down."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from hostagent import netpol, tunnel
from hostagent.engine import Engine
from hostagent.images import Images
from hostagent.journal import Journal
from hostagent.protocol import (
    Checkpoint,
    CheckpointDone,
    ContainerSpec,
    DesiredWorkload,
    WorkloadReport,
    WorkloadState,
)
from hostagent.tests.border import Border, serving
from hostagent.tests.test_spec import ROOMY, SPEC
from hostagent.tunnel import Tunnels
from hostagent.workload import Site, Workload

ID = "0190a5b2-7c11-4000-8000-000000000001"
NAME = f"dc-{ID}-g1"


@pytest.fixture
def dockerd() -> Iterator[Border]:
    with serving() as border:
        yield border


def site(folder: Path, border: Border, reports: list[WorkloadReport]) -> Site:
    engine = Engine("node-1", base_url=border.engine_address)
    return Site(
        node_id="node-1",
        folder=folder,
        engine=engine,
        images=Images(engine, folder / "pulls.json"),
        tunnels=Tunnels(folder),
        journal=Journal(folder / "journal.json"),
        limits=ROOMY,
        report=reports.append,
        pulled=lambda: None,
    )


async def reported(
    workload: Workload,
    reports: list[WorkloadReport],
    state: WorkloadState | None = None,
    *,
    done: Callable[[WorkloadReport], object] = lambda report: True,
) -> WorkloadReport:
    """Let a workload act until it reports this state, or something that is `done`."""
    task = asyncio.get_running_loop().create_task(workload.run())

    def there() -> bool:
        return bool(reports and state in {None, reports[-1].state} and done(reports[-1]))

    async with asyncio.timeout(10):
        while not there():  # its own thread acts
            assert not task.done() or state is WorkloadState.ABSENT, task
            await asyncio.sleep(0.01)
    task.cancel()
    return reports[-1]


async def test_nothing_starts_while_the_network_rules_cannot_be_loaded(
    dockerd: Border, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise netpol.NetworkPolicyError("nft is missing: install the package nftables")

    monkeypatch.setattr(netpol, "load", refuse)
    dockerd.answers[f"GET /containers/{NAME}/json"] = (
        200,
        {"State": {"Running": False, "Status": "created"}},
    )
    reports: list[WorkloadReport] = []
    workload = Workload(site(tmp_path, dockerd, reports), wish("running"))
    seen = await reported(workload, reports, WorkloadState.FAILED)
    assert seen.code == "network_rules_missing"
    assert f"POST /containers/{NAME}/start" not in dockerd.calls()


async def test_a_full_disk_does_not_keep_a_container_from_being_stopped(
    dockerd: Border, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stopping(dockerd, tmp_path)
    monkeypatch.setattr("hostagent.journal.write_private", full)
    reports: list[WorkloadReport] = []
    there = site(tmp_path, dockerd, reports)
    await reported(Workload(there, wish("stopped")), reports, WorkloadState.STOPPED)
    assert there.journal.is_stopped(ID)


async def test_a_container_that_somebody_removed_is_told_and_not_replaced_by_an_empty_one(
    dockerd: Border, tmp_path: Path
) -> None:
    running(dockerd, tmp_path)
    reports: list[WorkloadReport] = []
    there = site(tmp_path, dockerd, reports)
    spec = msgspec.structs.replace(SPEC, proxy_port_mapping={})
    workload = Workload(there, wish("running", spec))
    await reported(workload, reports, WorkloadState.RUNNING)
    del dockerd.answers[f"GET /containers/{NAME}/json"]
    seen = await reported(workload, reports, WorkloadState.FAILED)
    assert seen.code == "host_removed"
    assert "POST /containers/create" not in dockerd.calls()
    # Another agent on the same disk says the same of one that should stand still.
    await reported(
        Workload(site(tmp_path, dockerd, reports), wish("stopped", spec)),
        reports,
        WorkloadState.ABSENT,
    )


async def test_keys_that_are_gone_from_this_machine_are_there_again_before_a_start(
    dockerd: Border, tmp_path: Path
) -> None:
    running(dockerd, tmp_path)
    reports: list[WorkloadReport] = []
    spec = msgspec.structs.replace(SPEC, proxy_port_mapping={})
    workload = Workload(site(tmp_path, dockerd, reports), wish("running", spec))
    await reported(workload, reports, WorkloadState.RUNNING)
    assert workload.keys_file.read_text().splitlines() == spec.ssh_keys
    assert workload.keys_file.stat().st_mode & 0o777 == 0o600


async def test_a_container_that_was_never_made_stands_still_and_nothing_is_lost(
    dockerd: Border, tmp_path: Path
) -> None:
    stopping(dockerd, tmp_path)
    del dockerd.answers[f"GET /containers/{NAME}/json"]
    reports: list[WorkloadReport] = []
    await reported(
        Workload(site(tmp_path, dockerd, reports), wish("stopped")), reports, WorkloadState.STOPPED
    )


async def test_an_answer_that_nobody_thought_of_does_not_end_the_following_of_a_wish(
    dockerd: Border, tmp_path: Path
) -> None:
    stopping(dockerd, tmp_path)
    # An engine that leaves out what it always says, once.
    dockerd.answers[f"GET /containers/{NAME}/json"] = (200, {"Odd": True})
    reports: list[WorkloadReport] = []
    workload = Workload(site(tmp_path, dockerd, reports), wish("stopped"))
    task = asyncio.get_running_loop().create_task(workload.run())
    while f"GET /containers/{NAME}/json" not in dockerd.calls():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not task.done()
    task.cancel()
    dockerd.answers[f"GET /containers/{NAME}/json"] = (200, EXITED)
    await reported(workload, reports, WorkloadState.STOPPED)


async def test_a_checkpoint_command_runs_once_and_how_it_ended_is_told(
    dockerd: Border, tmp_path: Path
) -> None:
    running(dockerd, tmp_path)
    dockerd.answers[f"POST /containers/{NAME}/exec"] = (201, {"Id": "e1"})
    dockerd.answers["POST /exec/e1/start"] = (200, "")
    dockerd.answers["GET /exec/e1/json"] = (200, {"Running": False, "ExitCode": 3})
    reports: list[WorkloadReport] = []
    there = site(tmp_path, dockerd, reports)
    spec = msgspec.structs.replace(
        SPEC, proxy_port_mapping={}, checkpoint=Checkpoint(serial=1, command="save", timeout_s=5)
    )
    await reported(Workload(there, wish("running", spec)), reports, done=lambda r: r.checkpoint)
    assert reports[-1].checkpoint == CheckpointDone(serial=1, exit_code=3)
    [(_, asked)] = [row for row in dockerd.asked if row[0].endswith(f"{NAME}/exec")]
    assert asked["Cmd"] == ["sh", "-c", "save"]
    # Another agent on the same folder: the command is not run twice.
    there = site(tmp_path, dockerd, reports)
    await reported(Workload(there, wish("running", spec)), reports, WorkloadState.RUNNING)
    assert len([row for row in dockerd.asked if row[0].endswith(f"{NAME}/exec")]) == 1


async def test_a_checkpoint_command_that_the_engine_refuses_is_told_as_failed(
    dockerd: Border, tmp_path: Path
) -> None:
    running(dockerd, tmp_path)
    dockerd.answers[f"POST /containers/{NAME}/exec"] = (409, {"message": "is paused"})
    reports: list[WorkloadReport] = []
    spec = msgspec.structs.replace(
        SPEC, proxy_port_mapping={}, checkpoint=Checkpoint(serial=1, command="save", timeout_s=5)
    )
    workload = Workload(site(tmp_path, dockerd, reports), wish("running", spec))
    await reported(workload, reports, done=lambda r: r.checkpoint)
    assert reports[-1].checkpoint == CheckpointDone(serial=1, exit_code=-1)


async def test_idleness_and_traffic_are_read_from_the_engine_and_told(
    dockerd: Border, tmp_path: Path
) -> None:
    running(dockerd, tmp_path)
    reports: list[WorkloadReport] = []
    there = site(tmp_path, dockerd, reports)
    spec = msgspec.structs.replace(
        SPEC,
        proxy_port_mapping={},
        resource_limits=msgspec.structs.replace(SPEC.resource_limits, gpu_uuids=[]),
    )
    workload = Workload(there, wish("running", spec))
    await workload.read_load()
    assert dockerd.calls() == []
    await reported(workload, reports, WorkloadState.RUNNING)
    for sent in (0, 70_000_000, 70_000_001, 70_000_002, 70_000_003):
        stats = {"cpu_stats": {"cpu_usage": {"total_usage": 0}}}
        stats["networks"] = {"eth0": {"tx_bytes": sent}}
        dockerd.answers[f"GET /containers/{NAME}/stats"] = (200, stats)
        await workload.read_load()
    await reported(workload, reports, done=lambda r: r.idle)
    assert (reports[-1].idle, reports[-1].sent_bytes) == (True, 64_000_000)
    assert there.journal.sent(ID) == (70_000_000, 70_000_000)
    dockerd.answers[f"GET /containers/{NAME}/stats"] = (500, {"message": "no"})
    await workload.read_load()
    assert workload.inside.load.idle


def running(dockerd: Border, folder: Path) -> None:
    """A container that runs and an frpc that has nothing to open."""
    stopping(dockerd, folder)
    dockerd.answers[f"GET /containers/{NAME}/json"] = (
        200,
        {"State": {"Running": True, "Status": "running"}},
    )
    dockerd.answers["GET /api/status"] = (200, {})


EXITED = {"State": {"Running": False, "Status": "exited", "ExitCode": 0}}


def wish(state: str, spec: ContainerSpec = SPEC) -> DesiredWorkload:
    return DesiredWorkload(
        workload_id=ID, workload_generation=1, rental_id="r", state=state, spec=spec
    )


def stopping(dockerd: Border, folder: Path) -> None:
    """A container that has ended and an frpc without proxies."""
    dockerd.answers[f"GET /containers/{NAME}/json"] = (200, EXITED)
    dockerd.answers["GET /api/store/proxies"] = (200, {"proxies": []})
    admin = {"port": dockerd.port, "user": "agent", "password": "x"}
    (folder / tunnel.ADMIN).write_text(json.dumps(admin))
