"""What a container reads at each start: its variables from secrets, and the script beside its program.

Secret values are in no file: they pass through a named pipe that the launcher reads before it becomes the
image's own program. An agent that was killed in between feeds the pipe when it is back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import time
from pathlib import Path

from hostagent.protocol import ContainerSpec
from hostagent.spec import LAUNCH_PATH, exported, needs_launcher

log = logging.getLogger(__name__)

PIPE_BYTES = 1024 * 1024
POLL_SECONDS = 0.02
# How long a start waits for the launcher; a slower one is fed when the workload is looked at again.
PATIENCE_SECONDS = 3.0
READ = f"""#!/bin/sh
# Runs before a program of the container and becomes it.
if [ -p {LAUNCH_PATH}/env ]; then
    DC_VARIABLES=
    . {LAUNCH_PATH}/env
    [ "$DC_VARIABLES" = whole ] || {{ echo 'the variables did not arrive' >&2; exit 1; }}
    unset DC_VARIABLES
fi
"""
LAUNCHER = f"""{READ}if [ -f {LAUNCH_PATH}/start ]; then
    shell=sh
    command -v bash >/dev/null 2>&1 && shell=bash
    ("$shell" {LAUNCH_PATH}/start &)
    unset shell
fi
exec "$@"
"""
INSIDE = f"""{READ}exec "$@"
"""


class Handover:
    """The folder that one container has at LAUNCH_PATH, read-only for it, closed to others on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fed = False

    def prepare(self, spec: ContainerSpec) -> None:
        """Make the folder as this start wants it, if it wants one; what the last start left is replaced."""
        self._fed = False
        if not needs_launcher(spec):
            return
        # Nobody but us comes past the outer folder; inside, the container's user, whoever that is, reads.
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self._write("run", LAUNCHER)
        self._write("inside", INSIDE if spec.secret_env else "")
        self._remove("env")
        if spec.secret_env:
            os.mkfifo(self.folder / "env", 0o644)
            (self.folder / "env").chmod(0o644)
        self._write("start", spec.start_script)

    def _write(self, name: str, text: str) -> None:
        """Replace one file in place: the container's mount shows this folder, not another in its stead."""
        if not text:
            self._remove(name)
            return
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)

    def _remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def words(self, spec: ContainerSpec, command: str) -> list[str]:
        """Return what runs a shell command in the running container with the variables from secrets.

        Whoever has started it calls `feed` once more.
        """
        words = ["sh", "-c", command]
        if not spec.secret_env or not (self.folder / "inside").exists():
            return words
        self._fed = False
        return ["sh", f"{LAUNCH_PATH}/inside", *words]

    def feed(self, spec: ContainerSpec | None, patience: float = 0.0) -> bool:
        """Pass the values to a launcher that waits for them, once; False when none came in `patience` seconds."""
        if self._fed or spec is None or not spec.secret_env or not (self.folder / "env").exists():
            return False
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(BrokenPipeError):
                if self._try_to_feed(exported(spec.secret_env)):
                    self._fed = True
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _try_to_feed(self, lines: bytes) -> bool:
        try:
            # Never waits: a container that reads slowly, or not at all, holds nobody up.
            pipe = os.open(self.folder / "env", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        try:
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            if os.write(pipe, lines) < len(lines):
                # The launcher sees that the end is missing and gives up.
                log.error("a container's variables do not fit into the pipe")
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(pipe)

    def remove(self) -> None:
        """Nothing of this container is left."""
        shutil.rmtree(self.folder, ignore_errors=True)
