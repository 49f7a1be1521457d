"""Which platform, and whose key: from the environment, else from a file that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_config_path


@dataclass(frozen=True)
class Login:
    """An address and an API key; both may be empty."""

    server: str = ""
    key: str = ""


def path() -> Path:
    """Return where `dcompute login` keeps what it was told."""
    return user_config_path("dcompute") / "login.json"


def load() -> Login:
    """Return the log-in of DCOMPUTE_SERVER and DCOMPUTE_KEY, completed from the file."""
    try:
        kept = json.loads(path().read_text())
        kept = kept if isinstance(kept, dict) else {}
    except (OSError, ValueError):
        kept = {}
    server = os.environ.get("DCOMPUTE_SERVER", "") or str(kept.get("server", ""))
    key = os.environ.get("DCOMPUTE_KEY", "")
    # A key goes to the platform that it is for, never to another that the environment names.
    if not key and server == kept.get("server"):
        key = str(kept.get("key", ""))
    return Login(server, key)


def save(login: Login) -> Path:
    """Write the file, readable for its owner alone from its first byte on."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(login), file)
    fresh.replace(target)
    return target
