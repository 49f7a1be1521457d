"""Alice does the main job from a terminal; every part is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.stacks import Platform, wait_for


def dcompute(site: Platform, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DCOMPUTE_SERVER": site.url,
        "DCOMPUTE_KEY": site.clients["alice"].headers["X-API-Key"],
        "XDG_CONFIG_HOME": str(home),
    }
    return subprocess.run(
        [sys.executable, "-m", "sdk", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(site: Platform, home: Path, *words: str) -> Any:
    done = dcompute(site, home, *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_alice_searches_rents_works_stops_starts_and_ends(site: Platform, tmp_path: Path) -> None:
    assert site.ssh_key.exists()
    [offer] = wait_for(lambda: told(site, tmp_path, "search")["rows"], seconds=30, what="an offer")
    rental = told(site, tmp_path, "rent", offer["id"], "--yes", "--disk-gb", "1")
    assert rental["state"] == "running"
    done = site.ssh(rental, "echo kept > /root/mine; echo $((6*7))")
    assert done.stdout == "42\n"
    assert told(site, tmp_path, "stop", rental["id"])["state"] == "stopped"
    rental = told(site, tmp_path, "start", rental["id"][:13])
    assert site.ssh(rental, "cat /root/mine").stdout == "kept\n"
    assert told(site, tmp_path, "end", rental["id"], "--yes")["state"] == "ended"
    bill = told(site, tmp_path, "bill", rental["id"])
    assert bill["agrees_with_ledger"] is True
    shown = dcompute(site, tmp_path, "bill", rental["id"]).stdout
    assert f"{bill['total']} USD" in shown
