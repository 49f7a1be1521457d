"""The secrets of one stack: made once, kept in a file only its owner reads. Standard library only."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Keys:
    """Every secret of the platform on this machine."""

    secret_key: str
    field_key: str
    tunnel_master_key: str
    frps_token: str
    frps_admin_password: str
    registry_secret: str

    @classmethod
    def fresh(cls) -> Keys:
        """Return new random secrets."""
        return cls(
            secret_key=secrets.token_urlsafe(48),
            field_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            tunnel_master_key=secrets.token_urlsafe(48),
            frps_token=secrets.token_urlsafe(32),
            frps_admin_password=secrets.token_urlsafe(24),
            registry_secret=secrets.token_urlsafe(24),
        )

    @classmethod
    def kept_in(cls, path: Path) -> Keys:
        """Return the secrets of the file, which is made when missing."""
        if path.exists():
            return cls(**json.loads(path.read_text()))
        made = cls.fresh()
        write_private(path, json.dumps(asdict(made), indent=1))
        return made


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that is never seen half written nor by others."""
    part = path.with_suffix(path.suffix + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, mode)
        file.write(text)
        file.flush()
        os.fsync(handle)
    part.replace(path)
