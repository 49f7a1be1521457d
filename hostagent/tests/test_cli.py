"""What a host types: join, run, tunnel, status, doctor; and what it says when something is missing."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from hostagent import netpol, tunnel
from hostagent.identity import Identity, Membership
from hostagent.protocol import Challenge, Reject, encode
from hostagent.tests.border import Border
from hostagent.tests.typing_in import GOOD_ENGINE, machine, type_in, words_of


@pytest.fixture
def dockerd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    with machine(monkeypatch) as border:
        yield border


def member(folder: Path, gateway_url: str = "ws://127.0.0.1:1/ws/agent") -> Membership:
    membership = Membership("node-1", "key-1", "https://market.example", gateway_url, "dcn_x_y")
    Identity(folder).save_membership(membership)
    return membership


def test_a_platform_that_is_none_or_away_or_unencrypted_is_named(
    dockerd: Border, tmp_path: Path
) -> None:
    dockerd.answers["POST /api/v1/agent/join"] = (502, "<html>bad gateway</html>")
    here = f"http://127.0.0.1:{dockerd.port}"
    for server, words in (
        (here, f"{here} answers 502, and not as a platform would."),
        ("http://127.0.0.1:1", "http://127.0.0.1:1 does not answer: "),
        (
            "http://market.example",
            "http://market.example is not encrypted: only https:// leaves this machine.",
        ),
    ):
        result = type_in("join", "--server", server, "--key", "k", "--state-dir", str(tmp_path))
        assert result.exit_code == 1
        assert words_of(result).startswith(words)
        assert Identity(tmp_path).membership() is None


def test_a_machine_that_has_joined_learns_with_its_own_key_where_the_platform_is_now(
    dockerd: Border, tmp_path: Path
) -> None:
    here = f"http://127.0.0.1:{dockerd.port}"
    stranger = type_in("join", "--server", here, "--state-dir", str(tmp_path))
    assert stranger.exit_code == 1
    assert words_of(stranger) == (
        "This machine has not joined: give --key with a node key of the fleet page."
    )
    member(tmp_path)
    node, key = str(uuid.uuid4()), str(uuid.uuid4())
    moved = {"node_id": node, "key_id": key, "deployment": "d2", "gateway_url": "ws://127.0.0.1:2"}
    dockerd.answers["POST /api/v1/agent/join"] = (200, {"success": True, "data": moved})
    assert type_in("join", "--server", here, "--state-dir", str(tmp_path)).exit_code == 0
    assert Identity(tmp_path).membership() == Membership(
        node, key, "d2", "ws://127.0.0.1:2", "dcn_x_y"
    )


def test_every_command_says_when_the_engine_is_away(
    dockerd: Border, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    member(tmp_path)
    for command in (
        ["doctor"],
        ["status"],
        ["join", "--server", "http://127.0.0.1:1", "--key", "k"],
    ):
        result = type_in(*command, "--state-dir", str(tmp_path))
        assert result.exit_code == 1
        assert words_of(result).startswith("The Docker Engine does not answer: "), command
        assert words_of(result).endswith("Install and start it.")


def test_doctor_names_what_keeps_a_machine_from_being_listed(
    dockerd: Border, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    well = type_in("doctor", "--state-dir", str(tmp_path / "new"), "--json")
    assert well.exit_code == 0
    results = {row["check"]: row["passed"] for row in json.loads(well.output)}
    assert set(results) == {
        "root",
        "docker",
        "storage_driver",
        "seccomp",
        "runc",
        "disk",
        "firewall",
    }
    assert all(results.values())

    def refuse() -> None:
        raise netpol.NetworkPolicyError("nft is missing: install the package nftables")

    monkeypatch.setattr(netpol, "load", refuse)
    slow = {**GOOD_ENGINE, "Driver": "vfs", "RuncCommit": {"ID": "1.1.5"}}
    dockerd.answers["GET /info"] = (200, slow)
    ill = type_in("doctor", "--state-dir", str(tmp_path))
    assert ill.exit_code == 1
    for words in ("nft is missing", "nftables and iproute2", "vfs", "Upgrade runc", "1.1.5"):
        assert words in words_of(ill), words


def test_what_only_makes_a_machine_slower_does_not_fail_the_doctor(
    dockerd: Border, tmp_path: Path
) -> None:
    dockerd.answers["GET /info"] = (200, {**GOOD_ENGINE, "Driver": "vfs", "RuncCommit": None})
    result = type_in("doctor", "--state-dir", str(tmp_path), "--json")
    assert result.exit_code == 0
    failed = [row["code"] for row in json.loads(result.output) if not row["passed"]]
    assert failed == ["storage_driver_slow", "runc_vulnerable"]


def test_status_says_who_this_is_and_what_runs(dockerd: Border, tmp_path: Path) -> None:
    stranger = type_in("status", "--state-dir", str(tmp_path))
    assert stranger.exit_code == 1
    assert words_of(stranger) == (
        "This machine has not joined. Make a node key and run `hostagent join`."
    )
    member(tmp_path)
    running = {"Names": ["/dc-w-g1"], "State": "running", "Image": "demo:1", "Labels": {}}
    dockerd.answers["GET /containers/json"] = (200, [running])
    told = type_in("status", "--state-dir", str(tmp_path))
    assert words_of(told) == "Node node-1 of https://market.example running dc-w-g1 demo:1"
    assert "dcn_x_y" not in told.output
    listed = json.loads(type_in("status", "--state-dir", str(tmp_path), "--json").output)
    assert listed == {
        "node_id": "node-1",
        "containers": [{"name": "dc-w-g1", "state": "running", "image": "demo:1"}],
    }


def test_an_agent_with_a_setting_that_it_cannot_read_does_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DC_AGENT_REGISTRIES", "http://127.0.0.1:5000")
    refused = type_in("run", "--state-dir", str(tmp_path))
    assert refused.exit_code == 1
    assert words_of(refused).startswith("DC_AGENT_REGISTRIES: 'http://127.0.0.1:5000' is no")


def test_the_tunnel_becomes_frpc_once_its_settings_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda binary, words: became.append([binary, *words]))
    monkeypatch.delenv("DC_FRPC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = type_in("tunnel", "--state-dir", str(tmp_path))
    assert (missing.exit_code, became) == (1, [])
    assert words_of(missing) == "frpc is missing: put it on PATH or name it in DC_FRPC."
    monkeypatch.setenv("DC_FRPC", "/opt/frpc")
    config = tmp_path / tunnel.CONFIG
    writer = threading.Timer(0.3, config.touch)
    writer.start()
    type_in("tunnel", "--state-dir", str(tmp_path))
    writer.join()
    assert became == [["/opt/frpc", "/opt/frpc", "-c", str(config)]]


@pytest.mark.parametrize(
    ("code", "refusal", "words"),
    [
        (4409, None, "A newer session of this node has taken over."),
        (4401, Reject(code="node_key_wrong", message="Wrong key."), "Wrong key. (node_key_wrong)"),
    ],
)
def test_a_session_that_the_platform_ends_for_good_ends_the_program_without_a_restart(
    dockerd: Border, tmp_path: Path, code: int, refusal: Reject | None, words: str
) -> None:
    heard: list[Any] = []

    def platform(connection: ServerConnection) -> None:
        challenge = Challenge(nonce="n", deployment="https://market.example", server_time=0)
        connection.send(encode(challenge).decode())
        heard.append(json.loads(connection.recv()))
        if refusal:
            connection.send(encode(refusal).decode())
        connection.close(code, "bye")

    with serve(platform, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.socket.getsockname()[1]
        joining = threading.Timer(0.3, member, (tmp_path, f"ws://127.0.0.1:{port}/ws/agent"))
        joining.start()
        result = type_in("run", "--state-dir", str(tmp_path))
        server.shutdown()
        thread.join(5)
    assert result.exit_code == 0
    assert words_of(result) == f"Waiting for `hostagent join`. {words}"
    [hello] = heard
    assert (hello["type"], hello["node_id"], hello["key_id"]) == ("hello", "node-1", "key-1")
    assert hello["observed"] == []
    assert {check["check"] for check in hello["checks"]} >= {"docker", "firewall"}


def test_an_unencrypted_gateway_beyond_this_machine_is_never_dialled(
    dockerd: Border, tmp_path: Path
) -> None:
    member(tmp_path, "ws://gateway.example/ws/agent")
    result = type_in("run", "--state-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "is not encrypted" in words_of(result)
