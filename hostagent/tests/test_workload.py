"""One workload beside an engine that answers as a test wrote it down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostagent import netpol
from hostagent.engine import Engine
from hostagent.journal import Journal
from hostagent.protocol import DesiredWorkload, WorkloadReport, WorkloadState
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
    return Site(
        node_id="node-1",
        folder=folder,
        engine=Engine("node-1", base_url=border.engine_address),
        tunnels=Tunnels(folder),
        journal=Journal(folder / "journal.json"),
        limits=ROOMY,
        report=reports.append,
    )


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
    wished = DesiredWorkload(
        workload_id=ID, workload_generation=1, rental_id="r", state="running", spec=SPEC
    )
    workload = Workload(site(tmp_path, dockerd, reports), wished)
    task = asyncio.get_running_loop().create_task(workload.run())
    async with asyncio.timeout(10):
        while not reports or reports[-1].state is not WorkloadState.FAILED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    assert reports[-1].code == "network_rules_missing"
    assert f"POST /containers/{NAME}/start" not in dockerd.calls()
