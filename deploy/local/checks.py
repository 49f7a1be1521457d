"""`./run check`, `./run fix`, `./run schema`: the tools that read the code."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import time

from deploy.local.places import CHECKOUT

PACKAGES = ("core", "audit", "accounts", "billing", "nodes", "rentals", "realtime", "marketplace",
            "hostagent", "sdk", "deploy")  # fmt: skip
MANAGE = (sys.executable, "manage.py")
# Whatever is generated from the code, and how.
SCHEMAS = {
    "docs/api/v1.yaml": (*MANAGE, "spectacular", "--file"),
    "docs/protocol.schema.json": (*MANAGE, "protocol_schema", "--file"),
    "docs/states.md": (*MANAGE, "state_diagrams", "--file"),
    "docs/reasons.md": (*MANAGE, "reason_catalogue", "--file"),
    "docs/notifications.md": (*MANAGE, "notice_catalogue", "--file"),
    "docs/credits.md": (*MANAGE, "credit_rules", "--file"),
    "docs/offer-fields.md": (*MANAGE, "offer_fields", "--file"),
}
CHECKS = {
    "ruff": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy",),
    "imports": ("lint-imports",),
    "templates": ("djlint", "templates", "--check", "--lint", "--quiet"),
    "django": (*MANAGE, "check", "--fail-level", "WARNING"),
    "migrations": (*MANAGE, "makemigrations", "--check", "--dry-run"),
}
FIXES = {
    "ruff": ("ruff", "check", "--fix", "."),
    "format": ("ruff", "format", "."),
    "templates": ("djlint", "templates", "--reformat", "--quiet"),
}


def main(arguments: list[str]) -> int:
    """Run the verb; every tool runs even when one before it fails. Returns the exit status."""
    verb = arguments[0]
    os.environ.update(_environment())
    os.chdir(CHECKOUT)
    if verb == "check":
        good = [_step(name, command) for name, command in CHECKS.items()]
        return 0 if all([*good, _schemas_are_current()]) else 1
    if verb == "fix":
        return 0 if all([_step(name, command) for name, command in FIXES.items()]) else 1
    return 0 if all([_write_schema(path) for path in SCHEMAS]) else 1


def _step(name: str, command: tuple[str, ...]) -> bool:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    mark = "✗" if done.returncode else "✓"
    print(f"  {mark} {name:<12} {time.monotonic() - began:5.1f} s", flush=True)
    if done.returncode:
        print((done.stdout + done.stderr).rstrip(), flush=True)
    return done.returncode == 0


def _write_schema(path: str) -> bool:
    (CHECKOUT / path).parent.mkdir(parents=True, exist_ok=True)
    return _step(path, (*SCHEMAS[path], path))


def _schemas_are_current() -> bool:
    """Generate each again beside the committed one and compare."""
    return all([_schema_is_current(path) for path in SCHEMAS])


def _schema_is_current(path: str) -> bool:
    fresh = CHECKOUT / f"{path}.fresh"
    try:
        fresh.parent.mkdir(parents=True, exist_ok=True)
        if not _step(path, (*SCHEMAS[path], str(fresh))):
            return False
        committed = CHECKOUT / path
        if committed.exists() and committed.read_bytes() == fresh.read_bytes():
            return True
        print(f"    {path} is not what the code says; run ./run schema and commit it")
        return False
    finally:
        fresh.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Settings with which the code can be read; nothing connects to these addresses."""
    secret = secrets.token_urlsafe(48)
    return {
        "DC_MODE": "test",
        "DC_SECRET_KEY": secret,
        "DC_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "DC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "DC_REDIS_URL": "redis://127.0.0.1:1/0",
        "DC_TUNNEL_MASTER_KEY": secret,
        "DC_FRPS_TOKEN": secret,
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
