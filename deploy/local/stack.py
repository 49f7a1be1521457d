"""One running platform on this machine: `Stack(StackConfig(...)).start()`, `.stop()`, `.pid(name)`, `.log(name)`.

The demo runs one; the system tests run several beside each other and kill their programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploy.local import container_engine, engines, image, schema
from deploy.local.claims import Claimed, claim
from deploy.local.keys import Keys
from deploy.local.places import CHECKOUT, Artifacts, StackPlaces
from deploy.local.programs import (
    Facts,
    StackConfig,
    agent_environment,
    all_programs,
    engine_data,
    platform_environment,
)
from deploy.local.supervise import ProgramFailed, Supervisor
from deploy.local.tunnels import prepare_tunnels

# Containers that our agent made carry this label with the id of their node.
AGENT_LABEL = "dc.node"
LAST_LINES = 12


class StackError(Exception):
    """The stack cannot start; the message says what is missing and what to do."""


def _silent(_note: str) -> None:
    pass


class Stack:
    """The programs of one platform, from nothing to a joined agent."""

    def __init__(self, config: StackConfig | None = None) -> None:
        self.config = config or StackConfig()
        self.places = StackPlaces.of(self.config.name)
        self.facts = self._gather()
        self.supervisor = Supervisor(
            run=self.places.run,
            logs=self.places.state_folder("logs"),
            programs=all_programs(self.facts),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the platform's processes, for tests that use its code beside it."""
        return platform_environment(self.facts)

    @property
    def image(self) -> str:
        """The demo image's name in the stack's registry."""
        return image.image_name(f"127.0.0.1:{self.config.ports.registry}")

    def start(self, say: Callable[[str], None] = _silent) -> dict[str, Any]:
        """Start everything and join the agent; return what `demo_setup` said (users, node key).

        Raises:
            StackError, ProgramFailed, ImageError: in plain words.
        """
        self._refuse_taken_ports()
        say("PostgreSQL, Redis, registry, container engine")
        self.supervisor.start()
        foundations = ["postgres", "redis", "registry"]
        foundations += ["dockerd"] if self.facts.owns_engine else []
        self.supervisor.launch(*foundations)
        if self.facts.owns_engine and (why := container_engine.obstacle(self.facts.docker_host)):
            raise StackError(why)
        self._refuse_other_tables()
        with ThreadPoolExecutor(2) as pool:
            published = pool.submit(self._publish_image, say)
            say("database: migrations and the cast")
            self.manage("migrate", "--no-input", "-v", "0")
            cast: dict[str, Any] = self._set_up_cast()
            say("web, agent gateway, gate, frps, worker, beat")
            self.supervisor.launch("web", "gateway", "gate", "frps", "worker", "beat")
            published.result()
        if self.config.with_agent:
            say("the agent of this machine")
            self.join_agent(cast.get("node_key"))
            self.supervisor.launch("agent", "frpc")
        return cast

    def _set_up_cast(self) -> dict[str, Any]:
        words = ["demo_setup", "--image", self.image]
        if self.config.with_agent and self._node_id() is None:
            words.append("--node-key")
        told: dict[str, Any] = json.loads(self.manage(*words).splitlines()[-1])
        return told

    def stop(self) -> None:
        """Stop what `start` started: the agent, the containers it made, then the rest in reverse order."""
        if self.supervisor.is_healthy():
            if self.config.with_agent:
                self.supervisor.halt("agent")
            self._stop_containers()
        self.supervisor.stop()
        self._lock.close()

    def forget(self) -> None:
        """Delete all that earlier starts have kept, and what their agent left in the engine; then make a new Stack."""
        if self._node_id() is not None:
            # An engine too broken to start is deleted as it is.
            with contextlib.suppress(ProgramFailed):
                self.supervisor.start()
                if self.facts.owns_engine:
                    self.supervisor.launch("dockerd")
                self._remove_from_engine()
            self.supervisor.stop()
        self.remove()
        self._lock.close()

    def remove(self) -> None:
        """Delete the state of a stopped stack."""
        for folder in (self.places.state, self.places.run, engine_data(self.facts)):
            _unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def pid(self, name: str) -> int | None:
        """Return the process id of a program; None while it does not run."""
        return self.supervisor.pid(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a program and return the id it had; the supervisor starts it again."""
        pid = self.pid(name)
        if pid is None:
            raise StackError(f"{name} does not run")
        os.kill(pid, number)
        return pid

    def wait_restarted(self, name: str, old: int, seconds: float = 30) -> int:
        """Wait until a killed program runs again and is ready; return its new process id."""
        program, deadline = self.supervisor.programs[name], time.monotonic() + seconds
        while True:
            pid = self.pid(name)
            if pid is not None and pid != old and program.ready():
                return pid
            if time.monotonic() > deadline:
                raise StackError(f"{name} did not come back:\n{self.supervisor.last_words(name)}")
            time.sleep(0.05)

    def log(self, name: str) -> Path:
        """Return the file that holds a program's words."""
        return self.supervisor.log(name)

    def manage(self, *words: str) -> str:
        """Run one of Django's commands; return what it printed. Raises `StackError`."""
        return self._python([str(CHECKOUT / "manage.py"), *words], self.environment)

    def join_agent(self, node_key: str | None) -> None:
        """Let the agent join with a node key; one that has joined learns where its platform is now."""
        member = membership(self.facts.agent_state)
        if member is None and node_key is None:
            return
        if member is not None and not has_moved(member, self.environment):
            return
        words = ["-m", "hostagent", "join", "--server", self.environment["DC_PUBLIC_URL"]]
        words += ["--key", node_key] if member is None and node_key else []
        words += ["--state-dir", str(self.facts.agent_state)]
        self._python(words, agent_environment(self.facts))

    def _python(self, words: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=CHECKOUT, env={**os.environ, **environment},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            said = "\n".join(
                f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-LAST_LINES:]
            )
            raise StackError(f"`{' '.join(words[:3])}` ended with {done.returncode}:\n{said}")
        return done.stdout

    def _gather(self) -> Facts:
        config, places = self.config, self.places
        places.prepare()
        try:
            self._lock = claim(places.state, config.ports.tunnels, alone=not config.name)
        except Claimed as error:
            raise StackError(str(error)) from None
        keys = Keys.kept_in(places.state / "keys.json")
        found = config.docker_host or container_engine.existing_engine()
        engines.prepare_postgres(places.state / "pg", places.run / "s")
        engines.owned_folder(places.state / "redis")
        return Facts(
            config=config,
            places=places,
            artifacts=Artifacts.of_this_checkout(),
            keys=keys,
            docker_host=found or f"unix://{places.run / 'docker.sock'}",
            owns_engine=found is None,
            tunnel=prepare_tunnels(places.state / "frps", keys, config.ports, config.public_host),
        )

    def _refuse_taken_ports(self) -> None:
        taken = self.config.ports.taken()
        if taken:
            named = ", ".join(f"{port} ({name})" for name, port in taken.items())
            variables = ", ".join(f"DC_{name.upper()}_PORT" for name in taken)
            raise StackError(
                f"somebody listens already on port {named}. Is another demo running? "
                f"Stop it, or choose other ports with {variables}."
            )

    def _publish_image(self, say: Callable[[str], None]) -> None:
        registry = f"127.0.0.1:{self.config.ports.registry}"
        if image.published_recipe(registry) == image.recipe_digest():
            return
        say("the demo image goes to the registry")
        image.publish(
            self.facts.artifacts.image_tar, registry=registry, docker_host=self.facts.docker_host
        )

    def _refuse_other_tables(self) -> None:
        other = schema.settle(self.places.state, self.environment["DC_DATABASE_URL"])
        if other:
            more = f" and {len(other) - 1} more" if other[1:] else ""
            raise StackError(
                f"the data of earlier starts was made by other code, and its tables do not fit this code "
                f"({other[0]}{more} changed; until 1.0 migrations are rewritten in place).\n"
                f"Nothing has been touched. `./run demo --fresh` deletes that data, which lies in "
                f"{self.places.state}, and starts anew."
            )

    def _stop_containers(self) -> None:
        """Stop (never remove) the containers of our own agent: only those, whoever owns the engine."""
        self._of_our_agent("ps", "-q", then=("stop", "-t", "10"))

    def _remove_from_engine(self) -> None:
        self._of_our_agent("ps", "-q", "-a", then=("rm", "--force", "--volumes"))
        self._of_our_agent("network", "ls", "-q", then=("network", "rm"))

    def _of_our_agent(self, *listing: str, then: Sequence[str]) -> None:
        """Do something to all that carries our node's label, whoever owns the engine; failures are left."""
        node = self._node_id()
        if node is None:
            return
        client = ["docker", "-H", self.facts.docker_host]
        listed = subprocess.run(
            [*client, *listing, "--filter", f"label={AGENT_LABEL}={node}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = listed.stdout.split()
        if found:
            subprocess.run([*client, *then, *found], capture_output=True, check=False)

    def _node_id(self) -> str | None:
        """Return the id under which the agent of this stack joined; None before that."""
        member = membership(self.facts.agent_state)
        return member["node_id"] if member else None


def membership(agent_state: Path) -> dict[str, str] | None:
    """Return what the agent's join brought; None before that."""
    path = agent_state / "membership.json"
    known: dict[str, str] | None = json.loads(path.read_text()) if path.exists() else None
    return known


def has_moved(member: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Tell whether a platform of this environment is not where, or not what, the agent has joined."""
    name = environment.get("DC_DEPLOYMENT") or environment["DC_PUBLIC_URL"]
    return (member["deployment"], member["gateway_url"]) != (name, environment["DC_GATEWAY_URL"])


def _unmount_below(folder: Path) -> None:
    """Let go of what a killed engine left mounted there."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    mounted = [Path(line.split()[1]) for line in lines]
    for path in reversed(mounted):
        if path == folder or folder in path.parents:
            subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)
