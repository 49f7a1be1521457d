"""A whole platform for the system, browser and crash tiers: real programs, short timings, its own ports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from deploy.local.places import CHECKOUT, StackPlaces
from deploy.local.ports import Ports
from deploy.local.programs import StackConfig, agent_environment
from deploy.local.stack import Stack

T = TypeVar("T")
# Periods of real life, divided by about twenty.
SHORT = {
    "DC_HEARTBEAT_SECONDS": "0.5",
    "DC_PORT_QUARANTINE_SECONDS": "2",
    "DC_RECONCILE_SECONDS": "0.5",
    "DC_PROBE_SECONDS": "2",
    "DC_SETTLE_HORIZON_SECONDS": "3",
    "DC_OUTBOX_SWEEP_SECONDS": "0.5",
    "DC_OFFLINE_BEATS": "30",
    "DC_SUSPECT_BEATS": "15",
}


def wait_for(look: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Return the first true answer of `look`; fail with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Platform:
    """One running stack, as its users meet it: over HTTP and SSH."""

    def __init__(self, stack: Stack, folder: Path, cast: dict[str, Any]) -> None:
        self.stack = stack
        self.folder = folder
        self.url = f"http://127.0.0.1:{stack.config.ports.web}"
        # Where a second registry, of a test's own, is trusted.
        self.second_registry = stack.config.environment["DC_TRUSTED_REGISTRIES"].rpartition("/")[2]
        self.passwords = {user["email"]: user["password"] for user in cast["users"]}
        self.clients = {name: self._client(name) for name in ("alice", "bob", "carol")}

    def _client(self, name: str) -> httpx.Client:
        code = (
            "from accounts.models import User; from accounts import services as s; "
            f"u = User.objects.get(email='{name}@demo.local'); "
            "print(s.create_api_key(actor=s.actor_of(u), name='test')[1])"
        )
        key = self.stack.manage("shell", "-v", "0", "-c", code).splitlines()[-1]
        headers = {"X-API-Key": key}
        return httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=30)

    def call(self, who: str, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Call the API as somebody; a web process that is just coming back is waited for."""
        deadline = time.monotonic() + 30
        while True:
            try:
                answer = self.clients[who].request(method, path, **kwargs)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                continue
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def get(self, who: str, path: str) -> Any:
        """Return the data of a GET that must succeed."""
        answer = self.call(who, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    @property
    def ssh_key(self) -> Path:
        """A private key whose public half is alice's."""
        path = self.folder / "id"
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        public = path.with_suffix(".pub").read_text()
        if not self.get("alice", "ssh-keys/"):
            body = {"name": "test", "public_key": public}
            assert self.call("alice", "POST", "ssh-keys/", json=body).status_code == 201
        return path

    def quote(self, who: str = "alice", template: str = "debian-ssh") -> dict[str, Any]:
        """Wait for an offer and return its price for a template."""
        offers = wait_for(lambda: self.get(who, "offers/")["rows"], seconds=30, what="an offer")
        templates = {t["slug"]: t["id"] for t in self.get(who, "templates/")["rows"]}
        body = {"offer_id": offers[0]["id"], "template_id": templates[template]}
        answer = self.call(who, "POST", "quotes/", json=body)
        assert answer.status_code == 201, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def rent(self, template: str = "debian-ssh") -> str:
        """Rent as alice; return the rental's id."""
        assert self.ssh_key.exists()
        body = {"quote_id": self.quote(template=template)["id"]}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self.call("alice", "POST", "rentals/", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])

    def rental(self, rental_id: str) -> dict[str, Any]:
        """Return alice's rental as it is now."""
        data: dict[str, Any] = self.get("alice", f"rentals/{rental_id}/")
        return data

    def wait_state(self, rental_id: str, *states: str, seconds: float = 40) -> dict[str, Any]:
        """Wait until the rental is in one of these states; return it."""

        def look() -> dict[str, Any] | None:
            rental = self.rental(rental_id)
            return rental if rental["state"] in states else None

        try:
            return wait_for(look, seconds=seconds, what=f"state {states}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.rental(rental_id)}") from error

    def act(self, rental_id: str, action: str) -> httpx.Response:
        """Tell alice's rental to do something."""
        return self.call("alice", "POST", f"rentals/{rental_id}/{action}/")

    def ssh(
        self, rental: dict[str, Any], command: str, *, key: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a rental with the real OpenSSH client and the line the page shows."""
        options = [
            "-i",
            str(key or self.ssh_key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
        ]
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        line = rental["ssh"]["command"].split()
        return subprocess.run(
            [*line[:1], *options, *line[1:], command],
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    @property
    def agent_environment(self) -> dict[str, str]:
        """The environment of the agent: which engine it uses."""
        return agent_environment(self.stack.facts)

    def broken(self) -> list[str]:
        """Return every invariant that does not hold once the platform has come to rest."""
        environment = {**os.environ, **self.stack.environment}
        environment["DOCKER_HOST"] = self.stack.facts.docker_host
        environment["DJANGO_SETTINGS_MODULE"] = "marketplace.settings"
        done = subprocess.run(
            [sys.executable, "-m", "tests.judge"],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        problems: list[str] = json.loads(done.stdout.splitlines()[-1])
        return problems


def _free_besides(ports: Ports) -> int:
    """Return one more port that nobody listens on now."""
    taken = {value for value in vars(ports).values() if isinstance(value, int)}
    while (other := Ports.free().registry) in taken:
        continue
    return other


@contextmanager
def platform(name: str, folder: Path) -> Iterator[Platform]:
    """Run one platform of this name, from nothing to a listed machine, and take it away again."""
    places = StackPlaces.of(name)
    for left_behind in (places.state, places.run):
        shutil.rmtree(left_behind, ignore_errors=True)
    ports = Ports.free()
    trusted = (f"http://127.0.0.1:{port}" for port in (ports.registry, _free_besides(ports)))
    environment = {**SHORT, "DC_TRUSTED_REGISTRIES": ",".join(trusted)}
    config = StackConfig(name=name, ports=ports, mode="test", environment=environment)
    stack = Stack(config)
    try:
        cast = stack.start()
        yield Platform(stack, folder, cast)
    finally:
        stack.stop()
        stack.remove()
