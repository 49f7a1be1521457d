"""The main job, done by itself through the public doors: alice rents, logs in by SSH, ends, and is billed.

Only what anyone could do from outside: HTTP to the site and a real OpenSSH client to the public port.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

TEMPLATE = "debian-ssh"
POLL_SECONDS = 0.2
RUNNING_WITHIN_SECONDS = 300
ENDED_WITHIN_SECONDS = 90
SECONDS_IN_USE = 5
SSH_OPTIONS = (
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
    "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10",
)  # fmt: skip
REMOTE_COMMAND = "echo hello from $(hostname) && uname -srm && python3 --version"


class WalkFailed(Exception):
    """A step did not do what it should; the message says which and what came instead."""


@dataclass
class Person:
    """Somebody with an API key, who talks to /api/v1/."""

    client: httpx.Client

    @classmethod
    @contextmanager
    def with_key(cls, base: str, email: str, password: str) -> Iterator[Person]:
        """Sign in, make an API key, talk with it, and revoke it at the end."""
        with signed_in(base, email, password) as session:
            made = _data(session.post("/api/v1/api-keys/", json={"name": "walk"}))
            with httpx.Client(base_url=f"{base}/api/v1", timeout=30) as client:
                client.headers["X-API-Key"] = made["key"]
                yield cls(client)
            session.delete(f"/api/v1/api-keys/{made['id']}/")

    def get(self, path: str) -> Any:
        """Return the data of a GET."""
        return _data(self.client.get(path))

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """Return the data of a POST."""
        return _data(self.client.post(path, json=body or {}, headers=headers))


@contextmanager
def signed_in(base: str, email: str, password: str) -> Iterator[httpx.Client]:
    """Sign in through the log-in page, as a browser does; the client may also change things."""
    with httpx.Client(base_url=base, timeout=30, follow_redirects=True) as session:
        session.headers["Referer"] = base
        session.get("/account/login/").raise_for_status()
        form = {"login": email, "password": password}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        session.post("/account/login/", data=form)
        if "sessionid" not in session.cookies:
            raise WalkFailed(f"{email} could not sign in")
        session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
        yield session


def _data(answer: httpx.Response) -> Any:
    try:
        body = answer.json()
    except ValueError:
        raise WalkFailed(
            f"{answer.request.url} answered {answer.status_code} without JSON"
        ) from None
    if not body["success"]:
        raise WalkFailed(
            f"{answer.request.url} answered {answer.status_code} {body['code']}: {body['error']}"
        )
    return body["data"]


class Walk:
    """One walk: prints each step with the seconds since the first."""

    def __init__(self, alice: Person, bob: Person, folder: Path) -> None:
        self.alice = alice
        self.bob = bob
        self.key = folder / "id_ed25519"
        self._began = time.monotonic()

    def say(self, note: str) -> None:
        """Print a step."""
        print(f"  [{time.monotonic() - self._began:6.2f} s] {note}", flush=True)

    def go(self) -> None:
        """Do the whole job. Raises `WalkFailed`."""
        wallet = self.alice.get("/wallet/")
        earned = Decimal(self.bob.get("/earnings/")["total"])
        self.say(f"alice has {wallet['available']} {wallet['currency']}")
        key = self._add_key()
        quote = self._quote()
        rental = self._rent(quote, key)
        try:
            self._wait_running(rental["id"])
            self._log_in(rental["ssh"]["command"])
        except WalkFailed:
            # Nothing goes on costing; what failed matters more than whether this succeeds.
            self.alice.client.post(f"/rentals/{rental['id']}/end/", json={})
            raise
        self._end(rental["id"])
        self.alice.client.delete(f"/ssh-keys/{key}/")
        self._check_bill(rental["id"])
        self._check_purses(rental["id"], Decimal(wallet["total"]), earned)

    def _add_key(self) -> str:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "walk", "-f", str(self.key)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        public = self.key.with_suffix(".pub").read_text().strip()
        added = self.alice.post(
            "/ssh-keys/", {"name": f"walk {uuid.uuid4().hex[:8]}", "public_key": public}
        )
        self.say(f"SSH key added, {added['fingerprint']}")
        return str(added["id"])

    def _quote(self) -> dict[str, Any]:
        offers = self.alice.get("/offers/")["rows"]
        if not offers:
            raise WalkFailed("nothing is offered")
        offer = offers[0]
        size = f"{offer['gpu_total']} GPUs" if offer["gpu_total"] else f"{offer['cpu_cores']} cores"
        self.say(f"offer found: {offer['node_name']}, {offer['tier']}, {size}")
        templates = self.alice.get("/templates/?of=official")["rows"]
        template = next((row for row in templates if row["slug"] == TEMPLATE), templates[0])
        wish = {"offer_id": offer["id"], "template_id": template["id"]}
        quote: dict[str, Any] = self.alice.post("/quotes/", wish)
        self.say(
            f"quote for {template['slug']}: {quote['price']['hourly']} USD an hour, valid 2 minutes"
        )
        return quote

    def _rent(self, quote: dict[str, Any], key: str) -> dict[str, Any]:
        wish = {"quote_id": quote["id"], "ssh_key_ids": [key]}
        rental: dict[str, Any] = self.alice.post(
            "/rentals/", wish, **{"Idempotency-Key": uuid.uuid4().hex}
        )
        self.say(f"rented; the address is fixed: {rental['ssh']['command']}")
        return rental

    def _wait_running(self, rental_id: str) -> None:
        shown, deadline = "", time.monotonic() + RUNNING_WITHIN_SECONDS
        while time.monotonic() < deadline:
            rental = self.alice.get(f"/rentals/{rental_id}/")
            note = _progress(rental)
            if note != shown:
                self.say(note)
                shown = note
            if rental["state"] == "running":
                return
            if rental["state"] == "ended":
                raise WalkFailed(f"the rental ended before it ran: {rental['end']}")
            time.sleep(POLL_SECONDS)
        raise WalkFailed(f"the rental is still {shown} after {RUNNING_WITHIN_SECONDS} s")

    def _log_in(self, line: str) -> None:
        program, *rest = shlex.split(line)
        self.say(f"$ {line} '{REMOTE_COMMAND}'")
        done = subprocess.run(
            [program, "-i", str(self.key), *SSH_OPTIONS, *rest, REMOTE_COMMAND],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode or "hello from" not in done.stdout:
            raise WalkFailed(f"ssh ended with {done.returncode}: {done.stderr.strip()}")
        for answer in done.stdout.splitlines():
            self.say(f"    {answer}")
        time.sleep(SECONDS_IN_USE)

    def _end(self, rental_id: str) -> None:
        self.alice.post(f"/rentals/{rental_id}/end/")
        self.say("alice ends the rental")
        deadline = time.monotonic() + ENDED_WITHIN_SECONDS
        while self.alice.get(f"/rentals/{rental_id}/")["state"] != "ended":
            if time.monotonic() > deadline:
                raise WalkFailed(f"the rental did not end within {ENDED_WITHIN_SECONDS} s")
            time.sleep(POLL_SECONDS)
        self.say("ended")

    def _check_bill(self, rental_id: str) -> None:
        """Print the bill and add it up again: rate × seconds = amount, and the amounts make the total."""
        bill = self.alice.get(f"/rentals/{rental_id}/bill/")
        total = Decimal(0)
        for line in bill["lines"]:
            rate = Decimal(line["rate_nano_per_second"]) / 10**9
            amount = Decimal(line["amount"])
            if rate * line["seconds"] != amount:
                raise WalkFailed(f"this line does not add up: {line}")
            total += amount
            self.say(f"    {line['kind']:<8} {rate:f} USD/s × {line['seconds']} s = {amount}")
        if total != Decimal(bill["total"]) or not bill["lines"]:
            raise WalkFailed(f"the lines make {total}, the bill says {bill['total']}")
        self.say(
            f"bill: {bill['total']} {bill['currency']}; it adds up to the second and the nano-dollar"
        )

    def _check_purses(self, rental_id: str, before: Decimal, earned_before: Decimal) -> None:
        wallet, earnings = self.alice.get("/wallet/"), self.bob.get("/earnings/")
        paid = before - Decimal(wallet["total"])
        bill = Decimal(self.alice.get(f"/rentals/{rental_id}/bill/")["total"])
        if paid != bill:
            raise WalkFailed(f"alice paid {paid}, the bill says {bill}")
        if Decimal(wallet["locked"]) != 0:
            raise WalkFailed(f"{wallet['locked']} of alice's money is still held")
        self.say(f"alice has {wallet['total']} USD left, nothing of it held")
        lines = [line for line in earnings["lines"] if line["subject_id"] == rental_id]
        share = sum((Decimal(line["earned"]) for line in lines), Decimal(0))
        gained = Decimal(earnings["total"]) - earned_before
        if gained != share:
            raise WalkFailed(f"bob's earnings grew by {gained}, the lines make {share}")
        self.say(f"bob earned {share} USD of it; {bill - share} is the platform's fee")


def _progress(rental: dict[str, Any]) -> str:
    pull = rental["pull"]
    if rental["state"] == "pulling" and pull["current"] is not None:
        total = f" of {pull['total'] / 1e6:.1f}" if pull["total"] else ""
        return f"pulling: {pull['current'] / 1e6:.1f}{total} MB"
    return str(rental["state"])


def walk(base: str, users: list[dict[str, str]], say: Callable[[str], None]) -> None:
    """Do the main job at the site `base` with the demo's people. Raises `WalkFailed`."""
    say("walking: alice rents bob's machine")
    alice, bob = person_of(users, "alice"), person_of(users, "bob")
    with (
        tempfile.TemporaryDirectory(prefix="dcompute-walk-") as folder,
        Person.with_key(base, alice["email"], alice["password"]) as renter,
        Person.with_key(base, bob["email"], bob["password"]) as host,
    ):
        try:
            Walk(renter, host, Path(folder)).go()
        except httpx.HTTPError as error:
            raise WalkFailed(f"the site did not answer: {error}") from error


def person_of(users: list[dict[str, str]], name: str) -> dict[str, str]:
    """Return one of the demo's people."""
    return next(user for user in users if user["email"].startswith(f"{name}@"))
