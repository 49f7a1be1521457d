"""docker-compose.yml is sound, and the environment it and .env.example speak of is the real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from marketplace.env import Environment, Mode
from tests.architecture.tree import ROOT

COMPOSE = shutil.which("docker-compose")
SERVICES = {"postgres", "redis", "influxdb", "web", "gateway", "gate", "worker", "beat", "frps"}
SETTINGS = {f"DC_{name.upper()}" for name in Environment.model_fields}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the test run itself has set out of the environment."""
    for name in [name for name in os.environ if name.startswith("DC_")]:
        monkeypatch.delenv(name)


@pytest.mark.skipif(
    COMPOSE is None and "CI" not in os.environ, reason="docker-compose is not installed"
)
@pytest.mark.usefixtures("_no_settings")
@pytest.mark.parametrize("with_settings", [False, True], ids=["without .env", "with .env"])
def test_docker_compose_takes_it_without_a_word(with_settings: bool, tmp_path: Path) -> None:
    assert COMPOSE, "docker-compose is missing, and CI proves everything"
    shutil.copyfile(ROOT / "docker-compose.yml", tmp_path / "docker-compose.yml")
    if with_settings:
        shutil.copyfile(ROOT / ".env.example", tmp_path / ".env")
    done = subprocess.run(
        [COMPOSE, "config", "-q"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_has_every_service_of_the_platform(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() >= SERVICES


def test_it_builds_from_files_that_are_there(compose: dict[str, Any]) -> None:
    built = [service["build"] for service in compose["services"].values() if "build" in service]
    assert built
    assert not [build for build in built if not (ROOT / build["dockerfile"]).is_file()]


def test_it_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert not [port for port in ports if not port.startswith("127.0.0.1:")]


def test_it_speaks_of_settings_that_exist(compose: dict[str, Any]) -> None:
    named = {
        name
        for service in compose["services"].values()
        for name in service.get("environment", {})
        if name.startswith("DC_")
    }
    assert named <= SETTINGS


def test_the_example_names_every_setting_and_no_other() -> None:
    text = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^(?:# )?(DC_\w+)=", text, re.MULTILINE)) == SETTINGS


@pytest.mark.usefixtures("_no_settings")
def test_the_example_starts_the_platform_once_its_secrets_are_replaced(tmp_path: Path) -> None:
    secret = "for-tests-only-" * 3
    text = (ROOT / ".env.example").read_text()
    text = text.replace(
        "DC_FIELD_KEYS=change-me", f"DC_FIELD_KEYS={Fernet.generate_key().decode()}"
    )
    env_file = tmp_path / ".env"
    env_file.write_text(text.replace("change-me", secret))
    loaded = Environment(_env_file=env_file)  # type: ignore[call-arg]
    assert loaded.mode is Mode.DEV
    assert loaded.secret_key.get_secret_value() == secret
