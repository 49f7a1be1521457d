"""An early pytest plugin: real PostgreSQL and Redis, once for each checkout, before Django reads its settings."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from cryptography.fernet import Fernet

from deploy.local import engines

ROOT = Path(__file__).resolve().parent
HOME = Path("/var/tmp") / f"dct-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def _provide() -> None:
    HOME.mkdir(mode=0o711, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database_url = engines.start_postgres(HOME / "pg")
        redis_url = engines.start_redis(HOME / "redis")
    secret = "for-tests-only-" * 3
    defaults = {
        "DC_MODE": "test",
        "DC_SECRET_KEY": secret,
        "DC_FIELD_KEYS": Fernet.generate_key().decode(),
        "DC_DATABASE_URL": database_url,
        "DC_REDIS_URL": redis_url,
        "DC_TUNNEL_MASTER_KEY": secret,
        "DC_FRPS_TOKEN": secret,
        "DC_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        # Playwright's loop would otherwise trip Django's guard against queries in async code.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


_provide()
