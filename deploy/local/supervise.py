"""Keeps the programs of a stack alive: writes supervisord's configuration, runs it, talks to it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.local import reaper
from deploy.local.engines import service_account
from deploy.local.keys import write_private
from deploy.local.places import CHECKOUT

POLL_SECONDS = 0.05
TAIL_BYTES = 4000
UNHOLDABLE = ("\n", " ;", " #")


class ProgramFailed(Exception):
    """A program did not become ready; the message holds its last words and where the rest is."""


def always() -> bool:
    """Say that a program which runs is ready."""
    return True


@dataclass(frozen=True)
class Program:
    """One program: how it starts, when it is ready, how it stops.

    Args:
        stage: programs of a higher stage stop before those of a lower one.
        as_service: run as the unprivileged service account.
        stop_seconds: how long it may take to stop before it is killed.
        may_end: an end with status 0 is meant, and stays.
    """

    name: str
    command: Sequence[str]
    stage: int
    environment: Mapping[str, str] = field(default_factory=dict)
    as_service: bool = False
    ready: Callable[[], bool] = always
    ready_seconds: float = 60
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    may_end: bool = False

    @property
    def line(self) -> str:
        """The command line; it dies with the supervisor, so that nothing is left behind."""
        account = service_account().prefix if self.as_service else []
        words = [*account, "setpriv", f"--pdeathsig={self.stop_signal}", "--", *self.command]
        return shlex.join(words)


class Supervisor:
    """supervisord over a set of programs; it restarts what dies."""

    def __init__(self, *, run: Path, logs: Path, programs: Iterable[Program]) -> None:
        self._run = run
        self._logs = logs
        self.programs = {program.name: program for program in programs}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = run / "supervisor.sock"

    def start(self) -> None:
        """Start supervisord with every program still stopped. It ends with the calling thread."""
        configuration = self._run / "supervisord.conf"
        write_private(configuration, self._configuration())
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
        with (self._logs / "supervisord.out").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                start_new_session=True, preexec_fn=_before_exec,  # prctl only
            )  # fmt: skip
        self._wait(self._socket.exists, 20, "supervisord")

    def launch(self, *names: str) -> None:
        """Start programs and wait until each is ready. Raises `ProgramFailed`."""
        for name in names:
            if self.pid(name) is None:
                self._call("startProcess", self._full(name), False)
        for name in names:
            program = self.programs[name]
            self._wait(lambda: self.pid(name) is not None and program.ready(),  # noqa: B023
                       program.ready_seconds, name)  # fmt: skip

    def halt(self, name: str) -> None:
        """Stop one program and keep it stopped."""
        if self._info(name)["statename"] not in ("STOPPED", "EXITED", "FATAL"):
            self._call("stopProcess", self._full(name), True)

    def pid(self, name: str) -> int | None:
        """Return the process id of a running program."""
        return int(self._info(name)["pid"]) or None

    def is_healthy(self) -> bool:
        """Tell whether supervisord itself still runs."""
        return self._process is not None and self._process.poll() is None

    def log(self, name: str) -> Path:
        """Return the file that holds a program's words."""
        return self._logs / f"{name}.log"

    def stop(self) -> None:
        """Stop every program, the highest stage first, and supervisord."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        longest = sum(program.stop_seconds for program in self.programs.values())
        try:
            self._process.wait(longest)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_words(self, name: str) -> str:
        """Return the last lines of a program's log, and where the rest is."""
        path = self.log(name) if name in self.programs else self._logs / "supervisord.out"
        if not path.exists():
            return f"    (it wrote nothing to {path})"
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-12:]
        return "\n".join(f"    {line}" for line in lines) + f"\n    (all of it: {path})"

    def _wait(self, condition: Callable[[], bool], seconds: float, name: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.is_healthy():
                raise ProgramFailed(f"supervisord has ended:\n{self.last_words('')}")
            if time.monotonic() > deadline:
                words = self.last_words(name)
                raise ProgramFailed(f"{name} is not ready after {seconds:.0f} s:\n{words}")
            time.sleep(POLL_SECONDS)

    def _full(self, name: str) -> str:
        return f"stage{self.programs[name].stage}:{name}"

    def _info(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("getProcessInfo", self._full(name))
        return found

    def _call(self, method: str, *arguments: object) -> Any:
        # A transport of its own each time: it is not made for several threads.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _configuration(self) -> str:
        stages = sorted({program.stage for program in self.programs.values()})
        sections = [
            _HEAD.format(socket=self._socket, folder=self._run, log=self._logs / "supervisord.log")
        ]
        if os.geteuid() == 0:
            sections[0] = sections[0].replace("[supervisord]\n", "[supervisord]\nuser=root\n")
        for stage in stages:
            names = [name for name, program in self.programs.items() if program.stage == stage]
            sections.append(f"[group:stage{stage}]\nprograms={','.join(names)}\npriority={stage}\n")
        sections += [self._section(program) for program in self.programs.values()]
        return "\n".join(sections)

    def _section(self, program: Program) -> str:
        values = {
            "command": _value(program.line),
            "directory": str(CHECKOUT),
            "environment": ",".join(
                f"{name}={_quoted(value)}" for name, value in program.environment.items()
            ),
            "stdout_logfile": str(self.log(program.name)),
            "stopsignal": program.stop_signal,
            "stopwaitsecs": str(program.stop_seconds),
            "autorestart": "unexpected" if program.may_end else "true",
        }
        lines = "".join(f"{name}={value}\n" for name, value in values.items() if value)
        return f"[program:{program.name}]\n{_EVERY_PROGRAM}{lines}"


_HEAD = """\
[unix_http_server]
file={socket}
chmod=0600

[supervisord]
nodaemon=true
logfile={log}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}
umask=022

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_EVERY_PROGRAM = """\
autostart=false
startsecs=1
startretries=100000
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


def _value(text: str) -> str:
    """Return a value as supervisord reads it. Raises ValueError for what it cannot hold."""
    if any(part in text for part in UNHOLDABLE):
        raise ValueError("supervisord cannot hold a line break, nor a ; or # after a space")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    if '"' in text:
        raise ValueError("supervisord cannot hold a double quote in the environment")
    return f'"{_value(text)}"'


def _before_exec() -> None:
    reaper.adopt_orphans()
    reaper.die_with_parent(signal.SIGTERM)
