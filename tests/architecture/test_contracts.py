"""The import contracts watch every package, hold, and catch what they are there to catch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, WORKSHOP, contracts, root_packages, tracked

LINTER = Path(sys.executable).with_name("lint-imports")
# Contract, file, and what somebody in a hurry might write there.
PLANTS = (
    ("apps", "core/clock.py", "import billing.services"),
    ("apps", "billing/services.py", "import nodes.queries"),
    ("apps", "nodes/queries.py", "from rentals.models import Rental"),
    ("apps", "realtime/rooms.py", "import marketplace.views"),
    ("inside", "billing/models.py", "import billing.services"),
    ("inside", "nodes/services/capacity.py", "from nodes import gateway"),
    ("inside", "rentals/views.py", "import rentals.api"),
    ("inside", "rentals/utils.py", ""),
    ("bottom", "core/money.py", "import core.models"),
    ("bottom", "core/helpers.py", ""),
    ("top", "marketplace/env.py", "import marketplace.settings"),
    ("top", "marketplace/misc.py", ""),
    ("thin", "billing/tasks.py", "from billing.models import Account"),
    ("thin", "nodes/consumers.py", "import nodes.models"),
    ("quiet", "rentals/services/life.py", "import redis"),
    ("quiet", "nodes/services/sessions.py", "from channels.layers import get_channel_layer"),
    ("agent", "hostagent/link.py", "import django"),
    ("agent", "hostagent/planner.py", "import core.clock"),
    ("client", "sdk/client.py", "import core.errors"),
    ("wire", "nodes/gateway.py", "import hostagent.planner"),
    ("wire", "rentals/reconcile.py", "from hostagent.protocol import WorkloadState"),
    ("agentlayers", "hostagent/protocol/codec.py", "import hostagent.link"),
    ("agentlayers", "hostagent/helpers.py", ""),
    ("pure", "rentals/machine.py", "import django"),
    ("pure", "hostagent/planner.py", "import asyncio"),
    ("demo", "deploy/local/demo.py", "import core.money"),
    ("product", "core/secrets.py", "import deploy.local.keys"),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of everything that the contracts read."""
    folder = tmp_path_factory.mktemp("tree")
    for path in tracked():
        if path.suffix == ".py" and path.parts[0] in root_packages():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, folder / path)
    shutil.copyfile(ROOT / ".importlinter", folder / ".importlinter")
    return folder


@pytest.fixture
def planted(copy: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """The contract's name, and a copy of the tree in which somebody broke it."""
    contract, name, words = request.param
    path = copy / name
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{words}\n")
    yield contract, copy
    if before is None:
        path.unlink()
    else:
        path.write_text(before)


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(LINTER), "--config", str(folder / ".importlinter"), *options]
    # The packages are looked up in the working folder; nothing else may lead back to the real tree.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_top_level_package_is_watched() -> None:
    packages = {path.parts[0] for path in tracked() if path.match("*/__init__.py")}
    assert packages - WORKSHOP == root_packages()


def test_the_tree_keeps_every_contract(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


def test_each_contract_has_a_planted_violation() -> None:
    names = {
        section.rpartition(":")[2] for section in contracts() if section.startswith("importlinter:")
    }
    assert {contract for contract, _, _ in PLANTS} == names


@pytest.mark.parametrize("planted", PLANTS, indirect=True, ids=lambda plant: " ".join(plant[:2]))
def test_a_planted_violation_breaks_its_contract(planted: tuple[str, Path]) -> None:
    contract, folder = planted
    done = lint(folder, "--contract", contract)
    assert done.returncode == 1, done.stdout
    assert "0 kept, 1 broken" in done.stdout
