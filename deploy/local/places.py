"""Where things lie on one machine: what can be made again (cache), what cannot (state), sockets (run)."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.local import image

CHECKOUT = Path(__file__).resolve().parent.parent.parent
FRP_MODULE = CHECKOUT / "deploy" / "frp"
STRIPE_MOCK_MODULE = CHECKOUT / "deploy" / "stripe-mock"
FRONT_END_SOURCES = ("package.json", "package-lock.json", ".npmrc", "static/src", "templates")
# Change this when the way something is built changes, to build it anew everywhere.
BUILD_EDITION = "1"
TIERS = ("unit", "service", "system", "browser", "crash")


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback)


def cache_home() -> Path:
    """Return the folder of things that can be built again; removing it costs time only."""
    if os.geteuid() == 0:
        return Path("/var/cache/dcompute")
    return _xdg("XDG_CACHE_HOME", ".cache") / "dcompute"


def benches() -> tuple[str, ...]:
    """Return the names of the benches: each is a file."""
    return tuple(sorted(path.stem for path in (CHECKOUT / "bench").glob("[a-z]*.py")))


def checkout_id() -> str:
    """Return 8 hex digits that tell this clone from others on the machine."""
    return hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]


def digest_of(paths: Iterable[Path], *words: str) -> str:
    """Return 12 hex digits of the content below the paths (those that exist) and of the words."""
    digest = hashlib.sha256("\0".join([BUILD_EDITION, *words]).encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(CHECKOUT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _digest_of_module(folder: Path) -> str:
    return digest_of([folder / "go.mod", folder / "go.sum"], platform.machine())


@dataclass(frozen=True)
class Artifacts:
    """What is built before anything starts. Each path names its content, so old and new never mix."""

    venv: Path
    frp: Path
    stripe_mock: Path
    front_end: Path
    tools: Path

    @classmethod
    def of_this_checkout(cls) -> Artifacts:
        """Work out the paths from the content of the checkout; whether they exist is another matter."""
        cache = cache_home()
        python = platform.python_version()
        requirements = digest_of([CHECKOUT / "requirements.txt"], python)
        frp = _digest_of_module(FRP_MODULE)
        pages = digest_of([CHECKOUT / source for source in FRONT_END_SOURCES])
        return cls(
            venv=cache / f"venv-{requirements}",
            frp=cache / f"frp-{frp}",
            stripe_mock=cache / f"stripe-mock-{_digest_of_module(STRIPE_MOCK_MODULE)}",
            front_end=cache / f"front-end-{pages}",
            tools=cache / "tools",
        )

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def bundle(self) -> Path:
        """The built scripts and styles."""
        return self.front_end / "static" / "build"

    @property
    def node_modules(self) -> Path:
        """What npm brought; the browser tests take axe from it."""
        return self.front_end / "node_modules"

    @property
    def image_tar(self) -> Path:
        """The root file system of the demo image."""
        return cache_home() / f"image-{image.recipe_digest()}.tar"

    @property
    def registry(self) -> Path:
        """The registry's program, taken out of its package: the package itself would start a service."""
        return self.tools / "usr" / "bin" / "docker-registry"

    @property
    def redis(self) -> Path:
        """Debian's Redis, where the wheel does not exist."""
        return self.registry.with_name("redis-server")


@dataclass(frozen=True)
class StackPlaces:
    """Where one running stack keeps its things."""

    state: Path
    run: Path

    @classmethod
    def of(cls, name: str) -> StackPlaces:
        """Return the places of the stack of this name in this checkout."""
        known = f"{checkout_id()}-{name}" if name else checkout_id()
        if os.geteuid() == 0:
            return cls(Path("/var/lib/dcompute") / known, Path("/run/dcompute") / known)
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/dcompute-{os.getuid()}"
        state = _xdg("XDG_DATA_HOME", ".local/share") / "dcompute" / known
        return cls(state, Path(runtime) / "dcompute" / known)

    def state_folder(self, name: str, mode: int = 0o700) -> Path:
        """Make and return a folder of the state."""
        return _folder(self.state / name, mode)

    def prepare(self) -> None:
        """Make both folders; they may be passed through (0711), not listed."""
        for path in (self.state, self.run):
            _folder(path.parent, 0o711)
            _folder(path, 0o711)


def _folder(path: Path, mode: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    return path
