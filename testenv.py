"""An early pytest plugin: real PostgreSQL and Redis, once for each checkout, before Django reads its settings.

The servers stay up between runs and serve every worker. Two runs at the same time take different
numbers, and the number names the database (see conftest.py), so they never meet.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
from pathlib import Path
from typing import TextIO

from cryptography.fernet import Fernet

from deploy.local import engines

ROOT = Path(__file__).resolve().parent
# Short, because a unix socket's path is; outside /root, because PostgreSQL runs as somebody else.
HOME = Path("/var/tmp") / f"dct-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
NUMBER = "DISTRIBUTEDCOMPUTE_TEST_RUN"
_held: list[TextIO] = []


def _provide() -> None:
    HOME.mkdir(mode=0o711, exist_ok=True)
    if HOME.stat().st_uid != os.geteuid():
        raise SystemExit(f"{HOME} belongs to somebody else; tests will not use it")
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database_url = engines.start_postgres(HOME / "pg")
        redis_url = engines.start_redis(HOME / "redis")
    # The workers of pytest-xdist are children and inherit the number.
    if NUMBER not in os.environ:
        os.environ[NUMBER] = str(_take_number())
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
        # A search sees what the test has just written.
        "DC_SEARCH_SECONDS": "0",
        "DC_TELEMETRY_FILE": str(HOME / f"telemetry-{os.environ[NUMBER]}.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        # Playwright's loop would otherwise trip Django's guard against queries in async code.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _take_number() -> int:
    """Return the lowest number that no other run holds; it is ours until this process ends."""
    for number in itertools.count():
        lock = (HOME / f"run-{number}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        return number
    raise AssertionError("numbers do not end")


_provide()
