"""What `./run` hands over to: becomes root where that is needed, gets ready, and starts the verb."""

from __future__ import annotations

import os
import shutil
import sys

from deploy.local import reaper
from deploy.local.bootstrap import bootstrap
from deploy.local.image import ImageError
from deploy.local.lanes import LaneError
from deploy.local.places import CHECKOUT, TIERS, Artifacts, benches, cache_home

# The words that may follow a verb; a bench is a file.
WORDS_OF = {
    "demo": ("--walk", "--fresh"),
    "dev": ("--fresh",),
    "test": (*TIERS, "histories", "hammer"),
    "bench": benches(),
}
# The verb's module, what has to be ready for it, and whether it needs root.
VERBS = {
    "demo": ("deploy.local.demo", "demo", True),
    "dev": ("deploy.local.demo", "demo", True),
    "test": ("deploy.local.suite", "test", True),
    "bench": ("deploy.local.suite", "test", True),
    "check": ("deploy.local.checks", "check", False),
    "fix": ("deploy.local.checks", "check", False),
    "schema": ("deploy.local.checks", "check", False),
}
# sudo drops the environment; these say how to reach registries and how to behave.
KEPT_BY_SUDO = ("CI", "TERM", "NO_COLOR", "PATH", "GOPROXY", "GOSUMDB", "SSL_CERT_FILE",
                "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "http_proxy",
                "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "DOCKER_HOST")  # fmt: skip
PREFIXES_KEPT_BY_SUDO = ("DC_", "PIP_", "UV_", "npm_config_")


def main(arguments: list[str]) -> int:
    """Run the verb; does not return when it could be started."""
    verb = arguments[0]
    allowed = WORDS_OF.get(verb, ())
    if unknown := [word for word in arguments[1:] if word not in allowed]:
        known = f"; it knows {' '.join(allowed)}" if allowed else ""
        print(f"`./run {verb}` does not know {' '.join(unknown)}{known}.", file=sys.stderr)
        return 2
    module, needs, as_root = VERBS[verb]
    if as_root and os.geteuid() != 0:
        return _become_root(arguments)
    reaper.split_off_if_first()
    artifacts = Artifacts.of_this_checkout()
    try:
        bootstrap(needs, artifacts)
    except (LaneError, ImageError) as error:
        print(f"\nThis cannot go on.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    # Compiled modules go to the cache, never into the clone; without them every start takes longer.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(cache_home() / "bytecode")
    folders = [str(artifacts.venv / "bin"), str(artifacts.redis.parent), os.environ["PATH"]]
    os.environ["PATH"] = ":".join(folders)
    return os.execv(artifacts.python, [str(artifacts.python), "-m", module, *arguments])


def _become_root(arguments: list[str]) -> int:
    reason = "it starts a container engine and writes firewall rules"
    if not shutil.which("sudo"):
        print(f"`./run {arguments[0]}` needs root, because {reason}.", file=sys.stderr)
        print("There is no sudo here: log in as root and run it again.", file=sys.stderr)
        return 1
    print(f"`./run {arguments[0]}` needs root, because {reason}; asking sudo.", flush=True)
    kept = [name for name in os.environ
            if name in KEPT_BY_SUDO or name.startswith(PREFIXES_KEPT_BY_SUDO)]  # fmt: skip
    again = [str(CHECKOUT / "run"), *arguments]
    return os.execvp("sudo", ["sudo", f"--preserve-env={','.join(kept)}", "--", *again])


def _with_system_folders(path: str) -> str:
    """An ordinary user's PATH lacks the folders of dockerd and nft."""
    missing = [folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin")
               if folder not in path.split(":")]  # fmt: skip
    return ":".join([path, *missing])


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    os.environ["PATH"] = _with_system_folders(os.environ.get("PATH", "/usr/bin:/bin"))
    sys.exit(main(sys.argv[1:]))
