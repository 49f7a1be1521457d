"""Make .env from .env.example with fresh secrets: `python3 -m deploy.compose.make_env`. Standard library only."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EMPTY = re.compile(r"^(\w+)=$", re.MULTILINE)


def filled(example: str) -> str:
    """Return the example with a new secret after every name that has no value."""
    return EMPTY.sub(lambda match: f"{match[1]}={_secret(match[1])}", example)


def _secret(name: str) -> str:
    if name == "DC_FIELD_KEYS":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(48)


def main() -> int:
    """Write .env for its owner only; an existing one stays as it is. Returns the exit status."""
    text = filled((ROOT / ".env.example").read_text())
    try:
        target = os.open(ROOT / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(".env is there already; remove it first if you want new secrets", file=sys.stderr)
        return 1
    with open(target, "w") as file:
        file.write(text)
    print("wrote .env")
    return 0


if __name__ == "__main__":
    sys.exit(main())
