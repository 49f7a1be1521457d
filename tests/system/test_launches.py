"""What a template says reaches the container, and what is secret reaches nothing else. Every part is real."""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest
import redis

from deploy.local.engines import database_url
from deploy.local.ports import listens
from tests.stacks import Platform, wait_for

AWKWARD = "a=b \"two\" 'one'\nsecond line\t$HOME `id` \\ ünï"
# bcrypt of PASSWORD, as `htpasswd -B` writes it.
PASSWORD = "open-sesame-2"
HTPASSWD = "alice:$2b$05$o.kOnrWmokMzN1qybOfBm./RdnUPky8UcmUUdTtkAkstZsdFe7wMC"
# A process of the demo image that leaves its environment alone.
ENVIRON = (
    "python3 -c \"import json,subprocess as s; p=s.check_output(['pgrep','-f','page.py'],text=True)"
    ".split()[0]; print(json.dumps(open('/proc/'+p+'/environ',errors='surrogateescape').read()"
    '.split(chr(0))))"'
)


def made(site: Platform, path: str, body: Any, method: str = "POST") -> Any:
    answer = site.call("alice", method, path, json=body)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["data"]


def templated(site: Platform, **launch: Any) -> str:
    """Make a template of alice's; return its slug."""
    slug = f"t-{uuid.uuid4().hex[:8]}"
    launch = {"image": site.stack.image, "disk_gb": 1, **launch}
    made(site, "templates/", {"name": slug, "slug": slug, "launch": launch})
    return slug


def environment(site: Platform, rental: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a process in the container."""
    done = site.ssh(rental, ENVIRON)
    assert done.returncode == 0, done.stderr
    return dict(line.partition("=")[::2] for line in json.loads(done.stdout) if line)


def end(site: Platform, rental_id: str) -> None:
    assert site.act(rental_id, "end").status_code == 200
    site.wait_state(rental_id, "ended")


def test_the_whole_launch_is_there_inside_the_container(site: Platform) -> None:
    made(site, "secrets/", {"name": "token", "value": AWKWARD + "!"})
    words = ["one two", "", "it's\nthree"]
    slug = templated(
        site,
        entrypoint=["/bin/sh", "-c", 'printf "%s|" "$@" > /root/words; exec /usr/local/bin/entrypoint', "x"],
        command=words,
        env={"AWKWARD": AWKWARD, "URL": "x://h/?a=b=c&d", "EMPTY": ""},
        secrets={"TOKEN": "token"},
        ports=[{"port": 8888, "kind": "http", "label": "page"}, {"port": 9100}],
        start_script="echo \"$AWKWARD\" > /root/script\n[ \"$TOKEN\" = \"$AWKWARD!\" ] && echo same >> /root/script\n",
    )  # fmt: skip
    rental_id = site.rent(slug)
    rental = site.wait_state(rental_id, "running")
    assert rental["ports"].keys() == {"22", "8888", "9100"}
    seen = environment(site, rental)
    wanted = {"AWKWARD": AWKWARD, "URL": "x://h/?a=b=c&d", "EMPTY": "", "TOKEN": AWKWARD + "!"}
    assert {name: seen.get(name) for name in wanted} == wanted
    assert site.ssh(rental, "cat /root/words").stdout == "".join(f"{word}|" for word in words)
    wait_for(
        lambda: site.ssh(rental, "cat /root/script").stdout == f"{AWKWARD}\nsame\n",
        seconds=10,
        what="the start script's words",
    )
    # A restart keeps the disk, runs the script again and brings the value as it is now.
    [secret] = [row for row in site.get("alice", "secrets/") if row["name"] == "token"]
    assert secret["last_used_at"] is not None
    made(site, f"secrets/{secret['id']}/", {"value": "fresh"}, "PUT")
    assert site.ssh(rental, "rm /root/script").returncode == 0
    assert site.act(rental_id, "restart").status_code == 200
    rental = site.wait_state(rental_id, "running")
    assert environment(site, rental)["TOKEN"] == "fresh"
    wait_for(
        lambda: site.ssh(rental, "cat /root/script").stdout == f"{AWKWARD}\n",
        seconds=10,
        what="the start script's words after the restart",
    )
    # Deleted, it stops the next start, and nothing else.
    assert site.call("alice", "DELETE", f"secrets/{secret['id']}/").status_code == 204
    assert environment(site, rental)["TOKEN"] == "fresh"
    assert site.act(rental_id, "stop").status_code == 200
    site.wait_state(rental_id, "stopped")
    refused = site.act(rental_id, "start")
    assert (refused.status_code, refused.json()["code"]) == (409, "secret_gone")
    assert site.rental(rental_id)["state"] == "stopped"
    end(site, rental_id)


def test_an_agent_that_is_killed_between_start_and_handing_over_still_hands_over(
    site: Platform,
) -> None:
    made(site, "secrets/", {"name": "late", "value": "came"})
    rental_id = site.rent(templated(site, secrets={"LATE": "late"}))
    engine = docker.APIClient(base_url=site.stack.facts.docker_host)

    def there() -> bool:
        return bool(engine.containers(all=True, filters={"label": f"dc.rental={rental_id}"}))

    wait_for(there, seconds=40, what="a container")
    old = site.stack.kill("agent")
    site.stack.wait_restarted("agent", old)
    rental = site.wait_state(rental_id, "running", seconds=60)
    assert environment(site, rental)["LATE"] == "came"
    end(site, rental_id)


@contextmanager
def closed_registry(site: Platform, folder: Path) -> Iterator[str]:
    """Run a registry that lets only alice in, with the demo image in it; yields its host and port."""
    port = int(site.second_registry.rpartition(":")[2])
    (folder / "htpasswd").write_text(f"{HTPASSWD}\n")
    settings = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of a test"},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
    }
    (folder / "registry.yml").write_text(json.dumps(settings))
    program = str(site.stack.facts.artifacts.registry)
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            [program, "serve", str(folder / "registry.yml")], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: listens(port), seconds=15, what="a registry")
        _fill(site, f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(timeout=20)


def _fill(site: Platform, host: str) -> None:
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    engine.images.pull(site.stack.image)
    engine.images.get(site.stack.image).tag(f"{host}/closed/demo", "1")
    login = {"username": "alice", "password": PASSWORD}
    pushed = engine.images.push(f"{host}/closed/demo", "1", auth_config=login)
    assert "error" not in pushed, pushed
    engine.images.remove(f"{host}/closed/demo:1")


def test_an_image_behind_a_log_in_comes_with_it_and_stays_closed_to_others(
    site: Platform, tmp_path: Path
) -> None:
    with closed_registry(site, tmp_path) as host:
        body = {"name": "reg", "value": PASSWORD, "registry_host": host, "registry_user": "alice"}
        secret = made(site, "secrets/", body)
        image = f"{host}/closed/demo:1"
        rental_id = site.rent(templated(site, image=image, registry_login="reg"))
        rental = site.wait_state(rental_id, "running")
        assert site.ssh(rental, "id -un").stdout == "root\n"
        end(site, rental_id)
        # It lies on the machine now; without the log-in nobody gets it.
        rental_id = site.rent(templated(site, image=image))
        failed = site.wait_state(rental_id, "ended")
        assert (failed["end"]["code"], failed["cost_so_far"]) == ("image_login_refused", "0.00")
        made(site, f"secrets/{secret['id']}/", {"value": "wrong"}, "PUT")
        rental_id = site.rent(templated(site, image=image, registry_login="reg"))
        failed = site.wait_state(rental_id, "ended")
        assert (failed["end"]["code"], failed["cost_so_far"]) == ("image_login_refused", "0.00")
        assert site.call("alice", "DELETE", f"secrets/{secret['id']}/").status_code == 204


def needles(value: str) -> list[bytes]:
    """Return what to look for: the value, and what hex and base64 make of it wherever it begins."""
    raw = value.encode()
    found = [raw, raw.hex().encode()]
    for before in range(3):
        # Without the ends, which depend on the neighbours.
        found.append(base64.b64encode(b"\0" * before + raw)[4:-4])
    return found


def holds(text: bytes, wanted: list[bytes]) -> bool:
    return any(needle in text for needle in wanted)


def tables_with(site: Platform, wanted: list[bytes]) -> list[str]:
    """Return the tables that hold it, read as a dump reads them."""
    found = []
    with psycopg.connect(database_url(site.stack.facts.sockets)) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in names.fetchall():
            with connection.cursor().copy(f'COPY "{name}" TO STDOUT') as copy:
                if holds(b"".join(copy), wanted):
                    found.append(str(name))
    return found


def keys_with(site: Platform, wanted: list[bytes]) -> list[str]:
    """Return Redis's keys that hold it, of every type."""
    client = redis.Redis(unix_socket_path=str(site.stack.facts.redis_socket))
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"hash": client.hgetall,
        b"stream": client.xrange,
    }
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        value = repr(read[kind](key)) if kind in read else ""
        if holds(key + value.encode(), wanted):
            found.append(key.decode(errors="replace"))
    return found


def files_with(site: Platform, wanted: list[bytes]) -> list[str]:
    """Return the files of the whole stack that hold it: data of PostgreSQL and Redis, logs, the agent's."""
    found = []
    for folder in (site.stack.places.state, site.stack.places.run):
        for path in folder.rglob("*"):
            # Images and containers are the renter's own.
            if "docker" in path.parts or "registry" in path.parts or not path.is_file():
                continue
            try:
                if holds(path.read_bytes(), wanted):
                    found.append(str(path))
            except FileNotFoundError:
                continue
    return found


def everywhere(site: Platform, wanted: list[bytes]) -> list[str]:
    return [*tables_with(site, wanted), *keys_with(site, wanted), *files_with(site, wanted)]


def told(site: Platform, rental_id: str) -> bytes:
    """Return everything that the API says of the rental, to alice and to bob."""
    paths = ["rentals/", "secrets/", "templates/"]
    paths += [f"rentals/{rental_id}/{tail}" for tail in ("", "bill/", "timeline/", "logs/")]
    answers = [site.call("alice", "GET", path).content for path in paths]
    return b"".join([*answers, site.call("bob", "GET", "nodes/").content])


def save_and_stop(site: Platform, rental_id: str, command: str) -> None:
    """Let the rental reach its end date, with a command that saves first."""
    saving = {"command": command, "seconds": 5}
    made(site, f"rentals/{rental_id}/checkpoint/", saving, method="PUT")
    ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    limits = {"ends_at": ends_at.isoformat(), "spend_cap": None}
    made(site, f"rentals/{rental_id}/limits/", limits, method="PUT")
    site.wait_state(rental_id, "stopped")


def test_a_secret_is_in_its_container_and_nowhere_else(site: Platform, tmp_path: Path) -> None:
    canary, marker = f"canary{secrets.token_hex(16)}", f"marker{secrets.token_hex(8)}"
    wanted = [*needles(canary), *needles(PASSWORD)]
    engine = docker.APIClient(base_url=site.stack.facts.docker_host)
    with closed_registry(site, tmp_path) as host:
        made(site, "secrets/", {"name": marker, "value": canary})
        body = {"name": "door", "value": PASSWORD, "registry_host": host, "registry_user": "alice"}
        made(site, "secrets/", body)
        image = f"{host}/closed/demo:1"
        slug = templated(site, image=image, secrets={"CANARY": marker}, registry_login="door")
        rental_id = site.rent(slug)
        rental = site.wait_state(rental_id, "running")
        assert environment(site, rental)["CANARY"] == canary
        # The search finds what is there: the name is in tables and files.
        assert tables_with(site, needles(marker))
        assert files_with(site, needles(marker))
        [found] = engine.containers(filters={"label": f"dc.rental={rental_id}"})
        assert not holds(json.dumps(engine.inspect_container(found["Id"])).encode(), wanted)
        assert not holds(engine.logs(found["Id"]), wanted)
        assert everywhere(site, wanted) == []
        # What saves the work before the end has the secrets, too: it may have to log in somewhere.
        save_and_stop(site, rental_id, 'echo "${#CANARY} long" > /root/saved')
        assert everywhere(site, wanted) == []
        made(site, f"rentals/{rental_id}/extend/", {"hours": "1"})
        assert site.act(rental_id, "start").status_code == 200
        rental = site.wait_state(rental_id, "running")
        assert site.ssh(rental, "cat /root/saved").stdout == f"{len(canary)} long\n"
        assert environment(site, rental)["CANARY"] == canary
        old = site.stack.kill("gateway")
        site.stack.wait_restarted("gateway", old)
        assert not holds(told(site, rental_id), wanted)
        end(site, rental_id)
    # What is committed is in the write-ahead log, which is among the files.
    assert everywhere(site, wanted) == []


@pytest.mark.parametrize("launch", [{"image": "UPPER"}, {"env": {"A=B": "x"}}])
def test_a_launch_that_cannot_be_is_refused_by_name(site: Platform, launch: dict[str, Any]) -> None:
    body = {"name": "x", "launch": {"image": site.stack.image, **launch}}
    answer = site.call("alice", "POST", "templates/", json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] in {"template_image", "template_env_name"}
