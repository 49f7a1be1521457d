"""Which registries a machine is sent to. Names are resolved by the test, not by anybody's DNS."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from hostagent.registries import (
    HUB,
    HUB_REGISTRY,
    RegistryRefused,
    allowed_inside,
    registry_of,
    require_outside,
)

NAMES = {
    "ghcr.io": ["140.82.121.34", "2606:50c0:8000::154"],
    HUB_REGISTRY: ["54.198.86.24"],
    "inside.example.org": ["192.168.1.1"],
    # One good address does not make the other one good.
    "both.example.org": ["140.82.121.34", "10.0.0.1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "siit.example.org": ["::ffff:0:127.0.0.1"],
    "metadata.example.org": ["169.254.169.254"],
    "azure.example.org": ["168.63.129.16"],
    "unique.example.org": ["fd00:ec2::254"],
    "link.example.org": ["fe80::1%1"],
    "localhost": ["127.0.0.1"],
    "nas": ["192.168.1.9"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **more: Any) -> Any:
        if host[:1].isdigit() or ":" in host:
            return real(host, port, **more)
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("image", ["ghcr.io/m/x:1", "team/app", "debian:12", "docker.io/a/b"])
def test_registries_of_the_world_are_asked(image: str) -> None:
    require_outside(image, frozenset())


@pytest.mark.parametrize(
    "image",
    [
        *[f"{name}/x:1" for name in NAMES if "." in name and name not in {"ghcr.io", HUB_REGISTRY}],
        "localhost/x",
        "nas:5000/x",
        "NAS/x",
        "127.0.0.1:2375/x:1",
        "127.1/x",
        "2130706433:80/x",
        "0x7f.1/x",
        "0.0.0.0:1/x",
        "100.64.0.1/x",
        "224.0.0.1/x",
        "[::1]:5000/x",
        "[fe80::1]/x",
    ],
)
def test_nothing_inside_is_asked_whatever_its_name(image: str) -> None:
    with pytest.raises(RegistryRefused) as refused:
        require_outside(image, frozenset())
    assert refused.value.code == "registry_address_refused"
    assert "192.168" not in str(refused.value)


def test_the_machines_owner_allows_registries_of_his_own_by_name_and_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert allowed_inside() == frozenset()
    monkeypatch.setenv("DC_AGENT_REGISTRIES", "127.0.0.1:5000, NAS:80,inside.example.org,[::1]:81")
    mine = allowed_inside()
    assert mine == {
        ("127.0.0.1", 5000),
        ("nas", 80),
        ("inside.example.org", 443),
        ("::1", 81),
    }
    for image in ("127.0.0.1:5000/x:1", "nas:80/x", "inside.example.org/x", "[::1]:81/x"):
        require_outside(image, mine)
    for image in ("127.0.0.1:2375/x:1", "nas:81/x", "inside.example.org:444/x"):
        with pytest.raises(RegistryRefused):
            require_outside(image, mine)


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:5000", "x:0", "x:99999", "a b", "[::1", "x/y"])
def test_a_setting_that_names_no_registry_is_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("DC_AGENT_REGISTRIES", wrong)
    with pytest.raises(ValueError, match="is no registry"):
        allowed_inside()


def test_a_name_that_this_machine_does_not_know_is_not_passed_on() -> None:
    with pytest.raises(RegistryRefused) as refused:
        require_outside("nobody.example.org/x:1", frozenset())
    assert refused.value.code == "image_pull_failed"
    with pytest.raises(RegistryRefused) as refused:
        require_outside("a b:c/x", frozenset())
    assert refused.value.code == "image_missing"


def test_an_image_names_the_registry_that_an_engine_asks() -> None:
    assert registry_of("debian") == (HUB_REGISTRY, 443)
    assert registry_of(f"index.{HUB}/a/b:1") == (HUB_REGISTRY, 443)
    assert registry_of("team/app@sha256:" + "0" * 64) == (HUB_REGISTRY, 443)
    assert registry_of("Registry.Example:5000/a:1") == ("registry.example", 5000)
