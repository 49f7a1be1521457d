"""A PostgreSQL of one's own, for what must not touch anybody else's: benches, kills and immediate stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from cryptography.fernet import Fernet

from deploy.local import engines


class OwnPostgres:
    """One cluster in a folder; it waits for the disk as a real one does."""

    def __init__(self, folder: Path) -> None:
        self.data, self.sockets = folder / "pg", sockets_of(folder)
        engines.prepare_postgres(self.data, self.sockets)
        self.url = engines.database_url(self.sockets)
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [*engines.service_account().prefix, *engines.postgres_command(self.data)]
        with (self.data / "server.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return process

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT politely, SIGQUIT at once, as if the power had gone."""
        self.process.send_signal(how)
        self.process.wait(30)

    def restart_at_once(self) -> None:
        """Stop it without a word to anybody, and let it recover from its log."""
        self.stop(signal.SIGQUIT)
        self.process = self._started()


def sockets_of(folder: Path) -> Path:
    """Return the folder of the socket of a cluster in `folder`."""
    return folder / "s"


def own_folder() -> Path:
    """Return where the PostgreSQL of this process may lie.

    Outside /root, and short: another account runs it, and the path of a socket holds 107 bytes.
    """
    return Path(f"/var/tmp/dcp-{os.getpid()}")


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a PostgreSQL in `own_folder` until the end of the block; nothing of it stays."""
    folder = own_folder()
    folder.mkdir(mode=0o711)
    server = None
    try:
        server = OwnPostgres(folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def environment(url: str) -> dict[str, str]:
    """Return what a Django process needs to work on this database, and on nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DC_")}
    secret = "for-tests-only-" * 3
    return kept | {
        "DC_MODE": "test",
        "DC_SECRET_KEY": secret,
        "DC_FIELD_KEYS": Fernet.generate_key().decode(),
        "DC_DATABASE_URL": url,
        "DC_REDIS_URL": "redis://127.0.0.1:1",
        "DC_TUNNEL_MASTER_KEY": secret,
        "DC_FRPS_TOKEN": secret,
        "DC_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
    }
