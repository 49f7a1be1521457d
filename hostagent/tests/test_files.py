"""What the agent keeps on disk: keys, memory, frpc's settings, firewall rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostagent import netpol, tunnel
from hostagent.hardware import gpu_facts, tier_of
from hostagent.identity import Identity, Membership
from hostagent.journal import Journal
from hostagent.protocol import GpuFacts, TunnelSettings

SETTINGS = TunnelSettings(
    server_host="frps.example.org",
    server_port=7000,
    token="t",
    node="n",
    secret='s"ecret',
    secret_version=1,
    ca_pem="PEM",
    server_name="frps.internal",
)


def test_an_identity_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first, again = Identity(tmp_path / "state"), Identity(tmp_path / "state")
    assert first.public_key == again.public_key
    assert first.instance_id == again.instance_id
    assert (tmp_path / "state" / "node.key").stat().st_mode & 0o777 == 0o600
    assert first.membership() is None
    membership = Membership("n", "k", "d", "wss://x", "dcn")
    first.save_membership(membership)
    assert again.membership() == membership


def test_the_journal_remembers_stops_and_failures_and_survives_rubbish(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    journal.note_stop("w")
    journal.note_failure("w", 2, "image_missing", "none")
    again = Journal(tmp_path / "journal.json")
    assert again.is_stopped("w")
    assert again.failure("w", 2) == ("image_missing", "none")
    assert again.failure("w", 3) is None
    again.forget("w")
    assert not Journal(tmp_path / "journal.json").is_stopped("w")
    (tmp_path / "journal.json").write_text("{half")
    assert not Journal(tmp_path / "journal.json").is_stopped("w")


@pytest.mark.parametrize(
    "text",
    ["[]", "5", '"x"', "null", '{"stopped": 5}', '{"failed": []}', '{"restarts": {"w": "x"}}'],
)
def test_a_journal_that_is_not_ours_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.json").write_text(text)
    journal = Journal(tmp_path / "journal.json")
    assert (journal.is_stopped("w"), journal.failure("w", 1)) == (False, None)
    assert journal.restarts("w") == 0
    journal.note_stop("w")
    assert Journal(tmp_path / "journal.json").is_stopped("w")


def test_frpcs_files_are_written_only_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel.write_config(SETTINGS, tmp_path)
    monkeypatch.setattr(tunnel, "write_private", lambda *_: pytest.fail("written again"))
    assert tunnel.write_config(SETTINGS, tmp_path) is False


def test_frpc_is_told_to_verify_the_server_and_not_to_share_one_connection(tmp_path: Path) -> None:
    assert tunnel.write_config(SETTINGS, tmp_path) is False
    assert tunnel.write_config(SETTINGS, tmp_path) is False
    text = (tmp_path / tunnel.CONFIG).read_text()
    assert "transport.tcpMux = false" in text
    assert "transport.tls.enable = true" in text
    assert 'transport.tls.serverName = "frps.internal"' in text
    assert 'metadatas.secret = "s\\"ecret"' in text
    assert (tmp_path / tunnel.CONFIG).stat().st_mode & 0o777 == 0o600
    changed = TunnelSettings(**{f: getattr(SETTINGS, f) for f in SETTINGS.__struct_fields__})
    changed.secret = "new"
    assert tunnel.write_config(changed, tmp_path) is True


def test_a_proxy_name_carries_node_workload_generation_and_port() -> None:
    proxy = tunnel.Proxy("n", "w", 3, 22, 20_000, "10.213.0.2")
    assert proxy.name == "n.w-g3-22"


def test_the_rules_close_what_is_private_and_let_the_resolvers_through() -> None:
    found = netpol.resolvers(
        "nameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n"
    )
    assert found == ["10.0.0.2"]
    rules = netpol.ruleset(found)
    assert rules.index("10.0.0.2") < rules.index("169.254.0.0/16")
    assert 'iifname "mk*" drop' in rules
    assert 'oifname "mk*" drop' in rules


def test_rubbish_among_the_resolvers_is_skipped_and_behind_a_stub_stand_the_real_ones(
    tmp_path: Path,
) -> None:
    stub, real, missing = tmp_path / "stub", tmp_path / "real", tmp_path / "missing"
    stub.write_text("nameserver 127.0.0.53\nnameserver fritz.box\noptions edns0\n")
    real.write_text("nameserver 192.168.178.1\n")
    assert netpol.host_resolvers([stub, real]) == ["192.168.178.1"]
    assert netpol.host_resolvers([real, stub]) == ["192.168.178.1"]
    assert netpol.host_resolvers([missing, stub]) == []
    assert "168.63.129.16/32" in netpol.ruleset([])


def test_a_machine_without_a_driver_has_no_cards_and_is_a_cpu_machine() -> None:
    assert tier_of([]) == "CPU"
    card = GpuFacts(uuid="GPU-1", index=0, model="NVIDIA GeForce RTX 4090", vram_mib=24_564)
    assert tier_of([card]) == "CONSUMER_GPU"
    card.model = "NVIDIA H100 80GB HBM3"
    assert tier_of([card]) == "HPC"
    assert isinstance(gpu_facts(), list)
