"""Programs that die, supervisors that die, and being process 1: with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.places import CHECKOUT
from deploy.local.supervise import Program, ProgramFailed, Supervisor

pytestmark = pytest.mark.service
SECRET = "50 % of what, it's 'quoted'; $HOME=/x"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="dcs-") as path:
        yield Path(path)


def _wait(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_program_comes_back_with_its_environment(folder: Path) -> None:
    said = folder / "said"
    command = ["sh", "-c", 'echo "$WORD" >> "$0"; exec sleep 600', str(said)]
    program = Program("sleeper", command, 10, environment={"WORD": SECRET}, ready=said.exists)
    supervisor = Supervisor(run=folder, logs=folder, programs=[program])
    supervisor.start()
    try:
        supervisor.launch("sleeper")
        first = supervisor.pid("sleeper")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        _wait(lambda: supervisor.pid("sleeper") not in (None, first))
        _wait(lambda: said.read_text() == f"{SECRET}\n" * 2)
    finally:
        supervisor.stop()
    assert not supervisor.is_healthy()


def test_a_program_that_never_gets_ready_is_reported_with_its_last_words(folder: Path) -> None:
    command = ["sh", "-c", "echo port 7000 is taken; exec sleep 600"]
    program = Program("frps", command, 10, ready=lambda: False, ready_seconds=1.5)
    supervisor = Supervisor(run=folder, logs=folder, programs=[program])
    supervisor.start()
    try:
        with pytest.raises(ProgramFailed, match="port 7000 is taken"):
            supervisor.launch("frps")
    finally:
        supervisor.stop()


def test_a_program_that_may_end_stays_ended_after_status_0_only(folder: Path) -> None:
    command = ["sh", "-c", 'sleep 1.2; echo run >> "$0"; exit 0', str(folder / "runs")]
    supervisor = Supervisor(
        run=folder, logs=folder, programs=[Program("agent", command, 10, may_end=True)]
    )
    supervisor.start()
    try:
        supervisor.launch("agent")
        _wait(lambda: supervisor.pid("agent") is None)
        time.sleep(1.5)  # long enough for a restart, which must not come
        assert (folder / "runs").read_text() == "run\n"
    finally:
        supervisor.stop()


STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from deploy.local.supervise import Program, Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor(run=folder, logs=folder, programs=[Program("sleeper", ["sleep", "600"], 10)])
supervisor.start()
supervisor.launch("sleeper")
pid = supervisor.pid("sleeper")
# setpriv ties the program to the supervisor just before it becomes the program.
while Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":
    time.sleep(0.01)
print(pid, supervisor._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["starter", "supervisord"])
def test_nothing_is_left_when_the_starter_or_the_supervisor_is_killed(
    folder: Path, victim: str
) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, str(folder)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    sleeper, supervisord = map(int, starter.stdout.readline().split())
    try:
        os.kill(starter.pid if victim == "starter" else supervisord, signal.SIGKILL)
        _wait(lambda: not _alive(sleeper) and not _alive(supervisord))
    finally:
        starter.kill()
        starter.wait()
        starter.stdout.close()


AS_PROCESS_1 = """
import os, sys, time
from deploy.local import reaper
reaper.split_off_if_first()
if os.fork() == 0:          # an orphan: its parent ends at once
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    os._exit(0)
os.wait()
time.sleep(0.6)
states = [open(f"/proc/{p}/stat").read().split()[2] for p in os.listdir("/proc") if p.isdigit()]
print(os.getpid(), "Z" in states, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process namespace")
def test_as_process_1_orphans_are_buried_and_sigterm_is_heard() -> None:
    assert shutil.which("unshare")
    outside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
         sys.executable, "-c", AS_PROCESS_1],
        cwd=CHECKOUT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert outside.stdout is not None
    try:
        number, has_zombie = outside.stdout.readline().split()
        assert number != "1"
        assert has_zombie == "False"
        first = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()[0]
        os.kill(int(first), signal.SIGTERM)
        assert outside.wait(10) == 128 + signal.SIGTERM
    finally:
        outside.kill()
        outside.stdout.close()
