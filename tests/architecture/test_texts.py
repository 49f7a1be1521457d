"""What no tracked file may hold: somebody's machine, a registry's host, a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, tracked

# Written so that they do not find themselves.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.])/(wor[k]/|tm[p]/w/|hom[e]/\w|Users[/]|opt/whee[l]s)",
    "the host of a package registry": r"pyp[i]\.org|pythonhoste[d]\.org|registry\.npmj[s]|"
    r"(?:proxy|sum)\.golan[g]\.org|gcr[.]io|index\.docke[r]",
    "an address with a password": r"[a-z]+://[\w.-]+:(?!password@)[\w-]{6,}[@]",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\s|\\n)*[A-Za-z0-9+/]{40}",
    "a lock made from a folder of wheels": r"^--find-link[s]",
}
# Sums of Go modules name modules, not hosts to fetch from.
NOT_READ = {Path("deploy/frp/go.sum"), Path("deploy/frp/go.mod")}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = []
    for path in tracked():
        if path in NOT_READ:
            continue
        text = (ROOT / path).read_text(errors="replace")
        found += [
            f"{path}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"
            for match in pattern.finditer(text)
        ]
    assert not found


def test_the_lock_pins_everything_with_hashes() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==\S+", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[\w.-]+(?:\[[\w,-]+\])?==)", lock, flags=re.MULTILINE)[1:]
    assert len(pins) == len(blocks) > 100
    assert not [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


CARD = (
    "django", "djangorestframework", "channels", "channels-redis", "daphne", "celery", "psycopg",
    "django-allauth", "influxdb-client", "nvidia-ml-py", "docker", "pytest-django",
)  # fmt: skip


@pytest.mark.parametrize("package", CARD)
def test_the_lock_holds_every_package_of_the_design_card(package: str) -> None:
    lock = (ROOT / "requirements.txt").read_text()
    assert re.search(rf"^{package}(\[[\w,-]+\])?==", lock, re.MULTILINE)
