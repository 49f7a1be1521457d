"""Rent, use, stop, pay, with every part real: engine, frps, gate, gateway, agent, OpenSSH."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import docker
import pytest

from hostagent.spec import CAPABILITIES, DEGRADED
from tests.stacks import Platform, wait_for


def end(site: Platform, rental_id: str) -> dict[str, Any]:
    assert site.act(rental_id, "end").status_code == 200
    return site.wait_state(rental_id, "ended")


def publish_exiting_image(site: Platform) -> str:
    """Put an image into the stack's registry whose program ends at once."""
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    name = site.stack.image.rpartition("/")[0] + "/exits"
    container = engine.containers.create(site.stack.image, network_mode="none")
    container.commit(name, "1", conf={"Entrypoint": ["/bin/sh", "-c", "exit 3"], "Cmd": []})
    container.remove()
    engine.images.push(name, "1")
    engine.images.remove(f"{name}:1")
    return f"{name}:1"


def forget_images(site: Platform) -> None:
    """Take every image off the stack's machine: those of other tests share layers with the demo's."""
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    for image in engine.images.list(all=True):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(str(image.id), force=True)


def template(site: Platform, slug: str, image: str) -> str:
    """Make one more template, as staff would."""
    document = {"slug": slug, "name": slug, "launch": {"image": image, "disk_gb": 1}}
    code = (
        "from accounts.actors import Actor; from rentals import services as s; "
        "from rentals.launch import read_document; s.upsert_official_template(actor=Actor.system(), "
        f"document=read_document({document!r}))"
    )
    site.stack.manage("shell", "-v", "0", "-c", code)
    return slug


def test_the_main_job_with_a_pull_ssh_stop_start_end_and_a_bill_that_adds_up(
    site: Platform,
) -> None:
    forget_images(site)
    rental_id = site.rent()
    states: list[str] = []
    pulled: list[int] = []

    def running() -> dict[str, Any] | None:
        rental = site.rental(rental_id)
        states.append(rental["state"])
        pulled.append(rental["pull"]["current"] or 0)
        return rental if rental["state"] == "running" else None

    rental = wait_for(running, seconds=60, what="running")
    assert "pulling" in states
    assert max(pulled) > 10_000_000
    done = site.ssh(rental, "echo hello from $(id -un)")
    assert done.stdout == "hello from root\n", done.stderr
    # At least one whole second of use, so that there is something to bill.
    site.ssh(rental, "echo kept > /root/file; sleep 1.1")
    assert site.act(rental_id, "stop").status_code == 200
    site.wait_state(rental_id, "stopped")
    assert site.act(rental_id, "start").status_code == 200
    rental = site.wait_state(rental_id, "running")
    assert site.ssh(rental, "cat /root/file").stdout == "kept\n"
    end(site, rental_id)
    bill = site.get("alice", f"rentals/{rental_id}/bill/")
    for line in bill["lines"]:
        exact = Decimal(line["rate_nano_per_second"] * line["seconds"]) / 10**9
        assert Decimal(line["amount"]) == exact
    assert sum(Decimal(line["amount"]) for line in bill["lines"]) == Decimal(bill["total"]) > 0
    assert [line["kind"] for line in bill["lines"]].count("compute") == 2


def test_bob_reads_what_his_machine_measures(site: Platform) -> None:
    node_id = site.get("bob", "nodes/")[0]["id"]

    def figures() -> list[list[float]]:
        path = f"nodes/{node_id}/metrics/?field=ram_used&minutes=5"
        points: list[list[float]] = site.get("bob", path)["points"]
        return points

    points = wait_for(figures, seconds=15, what="figures of the machine")
    assert points[-1][1] > 100
    assert abs(points[-1][0] - time.time()) < 30
    assert site.call("carol", "GET", f"nodes/{node_id}/metrics/?field=ram_used").status_code == 404


def test_a_live_container_has_every_option_that_we_promise(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    engine = docker.APIClient(base_url=site.stack.facts.docker_host)
    [found] = engine.containers(filters={"label": f"dc.rental={rental_id}"})
    live = engine.inspect_container(found["Id"])
    host = live["HostConfig"]
    assert sorted(c.removeprefix("CAP_") for c in host["CapAdd"]) == sorted(CAPABILITIES)
    assert host["CapDrop"] == ["ALL"]
    assert host["Privileged"] is False
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["PidsLimit"] >= 4096
    assert host["NanoCpus"] > 0
    assert host["OomScoreAdj"] == 500
    assert host["CgroupnsMode"] == "private"
    assert host["IpcMode"] == "private"
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["Init"] is True
    assert not host["PortBindings"]
    assert host["LogConfig"]["Type"] == "local"
    assert {limit["Name"] for limit in host["Ulimits"]} == {"core", "memlock", "nofile"}
    assert [m["Destination"] for m in live["Mounts"]] == ["/etc/dcompute/authorized_keys"]
    assert live["Mounts"][0]["RW"] is False
    code = (
        "import json; from nodes.models import Workload; "
        f"print(json.dumps(Workload.objects.get(subject_id='{rental_id}').observed['degraded']))"
    )
    degraded = json.loads(site.stack.manage("shell", "-v", "0", "-c", code).splitlines()[-1])
    assert set(degraded) <= set(DEGRADED)
    assert rental["ssh"]["port"] == rental["ports"]["22"]
    end(site, rental_id)


def test_a_rental_reaches_neither_this_host_nor_metadata_nor_its_gateway(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    web = site.stack.config.ports.web
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        gateway = site.ssh(rental, "ip route | awk '/default/ {print $3}'").stdout.strip()
        assert gateway.startswith("10.213.")
        for address, number in ((gateway, port), ("169.254.169.254", 80), (gateway, web)):
            probe = f"timeout 2 bash -c '</dev/tcp/{address}/{number}' && echo OPEN || echo closed"
            assert site.ssh(rental, probe).stdout == "closed\n", address
    end(site, rental_id)


def test_an_image_that_does_not_exist_says_so_and_costs_nothing(site: Platform) -> None:
    image = site.stack.image.rpartition("/")[0] + "/nope:1"
    rental_id = site.rent(template(site, "missing", image))
    rental = site.wait_state(rental_id, "ended")
    assert rental["end"]["code"] == "image_missing"
    assert rental["label"] == "Could not start"
    assert rental["cost_so_far"] == "0.00"


def test_an_image_that_exits_at_once_says_so_and_costs_nothing(site: Platform) -> None:
    rental_id = site.rent(template(site, "exits", publish_exiting_image(site)))
    rental = site.wait_state(rental_id, "ended", seconds=60)
    assert rental["end"]["code"] == "container_exited"
    assert rental["cost_so_far"] == "0.00"


def test_a_port_that_something_else_has_is_our_fault_and_costs_nothing(site: Platform) -> None:
    rental_id = site.rent()
    port = site.rental(rental_id)["ssh"]["port"]
    with socket.create_server(("0.0.0.0", port)):
        rental = site.wait_state(rental_id, "ended", seconds=40)
    assert (rental["end"]["code"], rental["end"]["fault"]) == ("tunnel_refused", "platform")
    assert rental["cost_so_far"] == "0.00"


def test_an_ended_rental_is_unreachable(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    end(site, rental_id)
    assert site.ssh(rental, "true").returncode == 255


def test_secrets_of_the_stack_are_for_their_owner_only(site: Platform) -> None:
    state = Path(site.stack.facts.agent_state)
    for name in ("node.key", "membership.json", "frpc.toml", "frpc.admin.json"):
        assert (state / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize(
    ("who", "method", "path", "status", "code"),
    [
        ("carol", "GET", "rentals/{rental}/", 404, "rental_unknown"),
        ("carol", "POST", "rentals/{rental}/end/", 404, "rental_unknown"),
        ("carol", "GET", "rentals/{rental}/bill/", 404, "rental_unknown"),
        ("alice", "GET", "rentals/not-a-uuid/", 404, "not_found"),
        ("bob", "POST", "quotes/", 400, "invalid"),
        ("alice", "POST", "node-keys/", 400, "invalid"),
    ],
)
def test_strangers_and_nonsense_get_clear_errors(
    site: Platform, who: str, method: str, path: str, status: int, code: str
) -> None:
    rentals = site.get("alice", "rentals/")
    body: dict[str, str] | None = {} if method == "POST" else None
    answer = site.call(who, method, path.format(rental=rentals["rows"][0]["id"]), json=body)
    if path.startswith("rentals/not"):
        assert answer.status_code == 404
        return
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_keys_change_on_a_running_rental_and_the_last_words_outlive_it(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    other = site.folder / "other"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "other", "-f", str(other)]
    subprocess.run(command, check=True)
    body = {"name": "other", "public_key": other.with_suffix(".pub").read_text()}
    added = site.call("alice", "POST", "ssh-keys/", json=body).json()["data"]["id"]
    assert site.ssh(rental, "true").returncode == 0
    answer = site.call("alice", "PUT", f"rentals/{rental_id}/keys/", json={"ssh_key_ids": [added]})
    assert answer.status_code == 200
    wait_for(lambda: site.ssh(rental, "true").returncode == 255, seconds=10, what="a closed door")
    assert site.ssh(rental, "echo in", key=other).stdout == "in\n"
    site.ssh(rental, "echo these are my last words > /proc/1/fd/1", key=other)
    assert site.act(rental_id, "stop").status_code == 200
    site.wait_state(rental_id, "stopped")
    logs = site.get("alice", f"rentals/{rental_id}/logs/")
    assert "these are my last words" in logs["text"]
    end(site, rental_id)
    assert "these are my last words" in site.get("alice", f"rentals/{rental_id}/logs/")["text"]
    assert site.call("carol", "GET", f"rentals/{rental_id}/logs/").status_code == 404
    assert site.call("alice", "DELETE", f"ssh-keys/{added}/").status_code == 204


def test_a_container_that_ends_by_itself_can_be_started_again_with_its_disk(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    site.ssh(rental, "echo kept > /root/file; sleep 1.1")
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    [container] = engine.containers.list(filters={"label": f"dc.rental={rental_id}"})
    container.kill()
    stopped = site.wait_state(rental_id, "stopped")
    assert stopped["end"]["code"] == "container_exited"
    assert site.act(rental_id, "start").status_code == 200
    rental = site.wait_state(rental_id, "running")
    assert site.ssh(rental, "cat /root/file").stdout == "kept\n"
    end(site, rental_id)


def test_a_container_that_somebody_removes_ends_the_rental_and_is_not_replaced(
    site: Platform,
) -> None:
    rental_id = site.rent()
    site.wait_state(rental_id, "running")
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    [container] = engine.containers.list(filters={"label": f"dc.rental={rental_id}"})
    container.remove(force=True)
    ended = site.wait_state(rental_id, "ended")
    assert (ended["end"]["code"], ended["end"]["party"]) == ("host_removed", "host")


def test_a_restart_keeps_the_container_and_recreate_makes_a_fresh_one(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)

    def containers() -> list[str]:
        found = engine.containers.list(all=True, filters={"label": f"dc.rental={rental_id}"})
        return [str(container.id) for container in found]

    before = containers()
    site.ssh(rental, "echo kept > /root/file; touch /dev/shm/forgotten")
    assert site.act(rental_id, "restart").status_code == 200
    rental = site.wait_state(rental_id, "running")
    assert site.ssh(rental, "cat /root/file; ls /dev/shm").stdout == "kept\n"
    assert containers() == before

    refused = site.act(rental_id, "recreate")
    assert (refused.status_code, refused.json()["code"]) == (400, "confirm_data_loss")
    body = {"confirm_data_loss": True}
    answer = site.call("alice", "POST", f"rentals/{rental_id}/recreate/", json=body)
    assert answer.status_code == 200
    fresh = site.wait_state(rental_id, "running")
    assert fresh["ssh"] == rental["ssh"]
    assert site.ssh(fresh, "ls /root").stdout == ""
    after = containers()
    assert (len(after), after == before) == (1, False)
    # The keys of a fresh container can be changed as those of the first.
    assert site.act(rental_id, "stop").status_code == 200
    site.wait_state(rental_id, "stopped")
    assert site.act(rental_id, "start").status_code == 200
    assert site.ssh(site.wait_state(rental_id, "running"), "id -un").stdout == "root\n"
    end(site, rental_id)
