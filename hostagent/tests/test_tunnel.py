"""The agent and its frpc: proxies wanted and unwanted, and an frpc that says no, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostagent.tests.border import Border, serving
from hostagent.tunnel import ADMIN, Proxy, TunnelAway, Tunnels

PROXY = Proxy("n", "w", 3, 22, 20_000, "10.213.0.2")
STORE = "/api/store/proxies"


@pytest.fixture
def frpc() -> Iterator[Border]:
    with serving() as border:
        yield border


@pytest.fixture
def tunnels(frpc: Border, tmp_path: Path) -> Tunnels:
    admin = {"port": frpc.port, "user": "agent", "password": "secret"}
    (tmp_path / ADMIN).write_text(json.dumps(admin))
    return Tunnels(tmp_path)


async def test_a_proxy_leads_from_its_public_port_to_the_container(
    tunnels: Tunnels, frpc: Border
) -> None:
    frpc.answers[f"POST {STORE}"] = (200, {})
    await tunnels.add(PROXY)
    [(_, body)] = frpc.asked
    assert (body["name"], body["type"]) == ("n.w-g3-22", "tcp")
    assert body["tcp"] == {
        "localIP": "10.213.0.2",
        "localPort": 22,
        "remotePort": 20_000,
        "metadatas": {"workload": "w", "generation": "3"},
    }


async def test_a_proxy_that_is_there_is_corrected_not_doubled(
    tunnels: Tunnels, frpc: Border
) -> None:
    frpc.answers[f"POST {STORE}"] = (409, {})
    frpc.answers[f"PUT {STORE}/n.w-g3-22"] = (200, {})
    await tunnels.add(PROXY)
    assert frpc.calls() == [f"POST {STORE}", f"PUT {STORE}/n.w-g3-22"]


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_what_is_gone_already_is_removed(tunnels: Tunnels, frpc: Border, status: int) -> None:
    frpc.answers[f"DELETE {STORE}/x"] = (status, {})
    await tunnels.remove("x")
    assert frpc.calls() == [f"DELETE {STORE}/x"]


async def test_only_ones_own_proxies_are_named_and_each_with_its_phase(
    tunnels: Tunnels, frpc: Border
) -> None:
    frpc.answers[f"GET {STORE}"] = (
        200,
        {"proxies": [{"name": "n.w-g3-22"}, {"name": "n.v-g1-22"}]},
    )
    assert await tunnels.names("w") == ["n.w-g3-22"]
    frpc.answers[f"GET {STORE}"] = (200, {"proxies": None})
    assert await tunnels.names("w") == []
    told: list[dict[str, Any]] = [
        {"name": "a", "status": "running"},
        {"name": "b", "status": "start error", "err": "port taken"},
    ]
    frpc.answers["GET /api/status"] = (200, {"tcp": told})
    assert await tunnels.status() == {"a": ("running", ""), "b": ("start error", "port taken")}
    frpc.answers["GET /api/status"] = (200, {})
    assert await tunnels.status() == {}


async def test_an_frpc_that_refuses_means_later(tunnels: Tunnels, frpc: Border) -> None:
    for call in (f"POST {STORE}", f"GET {STORE}", f"DELETE {STORE}/x", "GET /api/status"):
        frpc.answers[call] = (500, {"message": "store is broken"})
    with pytest.raises(TunnelAway, match=r"frpc answers 500: .*store is broken"):
        await tunnels.add(PROXY)
    for question in (tunnels.names("w"), tunnels.remove("x"), tunnels.status()):
        with pytest.raises(TunnelAway, match="frpc answers 500"):
            await question


async def test_an_frpc_that_is_not_there_or_not_configured_means_later(tmp_path: Path) -> None:
    with pytest.raises(TunnelAway, match="not configured yet"):
        await Tunnels(tmp_path).status()
    (tmp_path / ADMIN).write_text(json.dumps({"port": 1, "user": "a", "password": "b"}))
    with pytest.raises(TunnelAway):
        await Tunnels(tmp_path).restart()


async def test_a_restart_is_asked_of_frpc_itself(tunnels: Tunnels, frpc: Border) -> None:
    frpc.answers["POST /api/stop"] = (200, {})
    await tunnels.restart()
    assert frpc.calls() == ["POST /api/stop"]
