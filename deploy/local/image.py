"""Builds the demo image from the distribution's packages and publishes it to the loopback registry.

Standard library only. The result is known by the digest of its recipe, so nothing is built twice.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).resolve().parent.parent / "images" / "demo"
REPOSITORY = "dcompute/demo"
TAG = "1"
PACKAGES = ("apt", "openssh-server", "python3", "procps", "iproute2")
# Where each file of the recipe lies inside the image, and with which mode.
FILES = {
    "entrypoint": ("/usr/local/bin/entrypoint", 0o755),
    "page.py": ("/usr/local/lib/dcompute/page.py", 0o644),
    "sshd.conf": ("/etc/ssh/sshd_config", 0o644),
}
IMPORT_CHANGES = (
    'ENTRYPOINT ["/usr/local/bin/entrypoint"]',
    "WORKDIR /root",
    "EXPOSE 22 8888",
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8",
)
UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
APT_SOURCES = (
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/ubuntu.sources",
    "/etc/apt/sources.list",
)
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class ImageError(Exception):
    """The demo image could not be built or published; the message says what to do."""


@dataclass(frozen=True)
class Distribution:
    """What the image is made from: the distribution of this machine."""

    name: str
    codename: str

    @classmethod
    def here(cls) -> Distribution:
        """Read it from os-release. Raises `ImageError` for a system without code name."""
        facts = platform.freedesktop_os_release()
        codename = facts.get("VERSION_CODENAME", "")
        if not codename:
            raise ImageError("this system has no code name in /etc/os-release")
        return cls(facts["ID"], codename)


def recipe_digest() -> str:
    """Return 16 hex digits that change whenever the image would."""
    digest = hashlib.sha256(
        repr((Distribution.here(), PACKAGES, IMPORT_CHANGES, UNWANTED)).encode()
    )
    for name in sorted(FILES):
        digest.update((RECIPE / name).read_bytes())
    return digest.hexdigest()[:16]


def image_name(registry: str) -> str:
    """Return the name to pull by, for a registry such as `127.0.0.1:5000`."""
    return f"{registry}/{REPOSITORY}:{TAG}"


def published_recipe(registry: str) -> str | None:
    """Return the digest of the recipe of the image in the registry; None when there is no image."""
    base = f"http://{registry}/v2/{REPOSITORY}"
    try:
        manifest = _get_json(f"{base}/manifests/{TAG}")
        config = _get_json(f"{base}/blobs/{manifest['config']['digest']}")
    except (urllib.error.URLError, KeyError, OSError):
        return None
    return str((config["config"].get("Labels") or {}).get("org.dcompute.recipe", "")) or None


def mmdebstrap_command(target: Path) -> list[str]:
    """Return the command that writes the root file system as `target` (about 180 MB, 30 s)."""
    installs = [
        f'install -D -m {mode:o} {shlex.quote(str(RECIPE / name))} "$1"{inside}'
        for name, (inside, mode) in FILES.items()
    ]
    here = Distribution.here()
    source = next((path for path in APT_SOURCES if _holds_sources(path)), None)
    return [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(PACKAGES)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--aptopt={option}" for option in _apt_network_options()),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED),
        *(f"--customize-hook={command}" for command in installs),
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
        here.codename,
        str(target),
        *([source] if source else []),
    ]


def publish(tar: Path, *, registry: str, docker_host: str) -> None:
    """Import the tar into the engine, name it, and push it to the registry.

    Raises:
        ImageError: the engine or the registry refused.
    """
    name = image_name(registry)
    changes = [*IMPORT_CHANGES, f"LABEL org.dcompute.recipe={recipe_digest()}"]
    arguments = [part for change in changes for part in ("--change", change)]
    _docker(docker_host, "import", *arguments, str(tar), name)
    _docker(docker_host, "push", "--quiet", name)
    # The engine forgets it, so that the first rental pulls it from the registry like any image.
    _docker(docker_host, "rmi", "--no-prune", name)


def _docker(host: str, *arguments: str) -> None:
    done = subprocess.run(
        ["docker", "-H", host, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImageError(f"docker {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")


def _holds_sources(path: str) -> bool:
    file = Path(path)
    if not file.is_file():
        return False
    lines = file.read_text().splitlines()
    return any(line.startswith(("deb ", "Types:")) for line in lines)


def _apt_network_options() -> list[str]:
    """Return the proxy settings of this machine's apt, which mmdebstrap would not see."""
    done = subprocess.run(
        ["apt-config", "dump", "Acquire::http", "Acquire::https"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [
        line.removesuffix(";")
        for line in done.stdout.splitlines()
        if "::Proxy " in line and not line.endswith('"";')
    ]


def _get_json(url: str) -> Any:
    request = urllib.request.Request(
        url, headers={"Accept": MANIFEST_TYPE}
    )  # a loopback address of ours
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)
