"""A stranger's program in a container of the agent's own making, on a real engine: what it tries stays inside.

The container is small (256 MiB, 200 processes, 16 MiB of /dev/shm), made by the agent's code on the engine on which
the stack's agent runs, in whose firewall it stands. A neighbour beside it has to answer all the time.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import pytest
from docker.models.containers import Container

from hostagent.engine import Engine, bridge_name
from hostagent.protocol import ContainerSpec, ResourceLimits
from hostagent.spec import Place
from tests.stacks import Platform, wait_for
from tests.system.test_main_job import end, template

MIB = 1024 * 1024
MEMORY_MIB, PIDS, SHM_MIB = 256, 200, 16
PATIENT = ["python3", "-c", "import signal; signal.pause()"]
HOSTILE = (Path(__file__).parent / "hostile.py").read_text()


@dataclass
class Cell:
    """One container and what runs in it."""

    container: Container
    address: str

    def run(self, *words: str) -> str:
        """Run a program as root inside; return what it says, both streams together."""
        said = self.container.exec_run(list(words)).output
        assert isinstance(said, bytes)
        return said.decode(errors="replace")

    def python(self, code: str, *words: str) -> str:
        return self.run("timeout", "60", "python3", "-c", code, *words)


@dataclass
class Block:
    """The engine, and the cells on it."""

    engine: Engine
    client: docker.DockerClient
    image: str
    keys: Path

    def cell(self) -> Cell:
        """Make and start one container, as the agent does for a rental."""
        workload = str(uuid.uuid4())
        name, bridge = f"dc-{workload}-g1", bridge_name(workload)
        labels = {"dc.node": self.engine.node_id, "dc.workload": workload, "dc.generation": "1"}
        address = self.engine.ensure_network(name, bridge, labels)
        spec = ContainerSpec(
            image=self.image, hostname="cell", env_vars={}, entrypoint=PATIENT, command=[], ssh_keys=[],
            ssh_port=22, proxy_port_mapping={},
            resource_limits=ResourceLimits(
                cpu_cores=1, memory_mib=MEMORY_MIB, ram_limit="256m", disk_gb=1, shm_mib=SHM_MIB, pids=PIDS
            ),
        )  # fmt: skip
        place = Place(
            name=name, network=name, address=address, keys_file=str(self.keys), labels=labels
        )
        self.engine.create(spec, place, self.engine.limits())
        self.engine.start(name)
        return Cell(self.client.containers.get(name), address)

    def clear(self) -> None:
        """Take away everything that was made here, and nothing else."""
        for workload, generation in self.engine.ours():
            name = f"dc-{workload}-g{generation}"
            self.engine.remove(name)
            self.engine.remove_network(name)


@pytest.fixture(scope="module")
def block(shared: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Block]:
    host = shared.stack.facts.docker_host
    keys = tmp_path_factory.mktemp("keys") / "authorized_keys"
    keys.write_text("")
    client = docker.DockerClient(base_url=host)
    client.images.pull(shared.stack.image)
    made = Block(Engine(f"block-{uuid.uuid4()}", base_url=host), client, shared.stack.image, keys)
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture(scope="module")
def cell(block: Block) -> Cell:
    return block.cell()


@pytest.fixture(scope="module")
def neighbour(block: Block) -> Cell:
    return block.cell()


def still_there(neighbour: Cell) -> None:
    """The one beside it and this machine go about their work."""
    began = time.monotonic()
    assert neighbour.run("echo", "here") == "here\n"
    assert time.monotonic() - began < 10
    assert psutil.virtual_memory().available > 500 * MIB


def test_nothing_that_a_strangers_program_tries_succeeds(cell: Cell, neighbour: Cell) -> None:
    said = cell.python(HOSTILE)
    gained = {name: gain for name, gain in json.loads(said.splitlines()[-1]).items() if gain}
    assert gained == {}
    still_there(neighbour)


def test_the_attempts_succeed_where_nothing_is_closed(block: Block) -> None:
    """A stranger who always fails proves little: in an open container most of the same succeeds."""
    said = block.client.containers.run(
        block.image, entrypoint=["python3", "-c", HOSTILE], command=[], remove=True, network_mode="none",
        cap_add=["SYS_ADMIN", "MKNOD", "NET_RAW", "SYS_NICE", "SYSLOG"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
    )  # fmt: skip
    gained = json.loads(bytes(said).splitlines()[-1])
    opened = {
        "mount_proc", "own_mount_namespace", "device_node", "raw_socket", "packet_socket", "host_name",
        "better_priority",
    }  # fmt: skip
    assert {name for name in opened if gained[name]} == opened


def test_a_fork_bomb_ends_at_its_own_limit(cell: Cell, neighbour: Cell) -> None:
    bomb = """
import os, time
made = []
try:
    while len(made) < 1000:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        made.append(child)
except OSError as error:
    print(len(made), error.errno, flush=True)
time.sleep(1)
for child in made:
    os.kill(child, 9)
"""
    made, _, number = cell.python(bomb).partition(" ")
    assert PIDS - 20 < int(made) < PIDS
    assert int(number) == 11
    still_there(neighbour)
    assert cell.run("echo", "alive") == "alive\n"


def test_a_memory_bomb_kills_only_itself(cell: Cell, neighbour: Cell) -> None:
    before = psutil.virtual_memory().available
    bomb = "b = []\nwhile True: b.append(bytearray(b'x' * (16 << 20)))"
    assert cell.container.exec_run(["python3", "-c", bomb]).exit_code == 137
    assert psutil.virtual_memory().available > before - 2 * MEMORY_MIB * MIB
    still_there(neighbour)
    cell.container.reload()
    assert cell.container.status == "running"


def test_shared_memory_ends_at_its_limit(cell: Cell, neighbour: Cell) -> None:
    full = "try:\n  open('/dev/shm/x','wb').write(bytes(64 << 20))\nexcept OSError as e: print(e.errno)"
    assert cell.python(full) == "28\n"
    assert int(cell.run("stat", "-c", "%s", "/dev/shm/x")) <= SHM_MIB * MIB
    cell.run("rm", "/dev/shm/x")
    still_there(neighbour)


def test_a_flood_of_words_is_bounded(block: Block, neighbour: Cell) -> None:
    """What 100 MB of log leave is at most three files of 10 MB, compressed, and the end of it can be read."""
    cell = block.cell()
    flood = (
        "import os\nfor n in range(100): os.write(1, b'%09d\\n' % n + b'x' * 1_000_000 + b'\\n')"
    )
    assert cell.run("sh", "-c", f'python3 -c "{flood}" > /proc/1/fd/1; echo done') == "done\n"
    kept = sum(len(part) for part in cell.container.logs(stream=True, follow=False))
    assert 1_000_000 < kept <= 31_000_000
    assert b"000000099" in cell.container.logs(tail=200)
    still_there(neighbour)


def test_neighbours_host_and_lan_are_out_of_reach(cell: Cell, neighbour: Cell) -> None:
    neighbour.container.exec_run(["python3", "-m", "http.server", "8000"], detach=True)
    own = "import socket; socket.create_connection(('127.0.0.1', 8000), 1); print('up')"
    wait_for(lambda: "up" in neighbour.python(own), seconds=15, what="the neighbour's server")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        mine = [(address, port) for address in _own_addresses()]
        assert mine
        near = [(neighbour.address, 8000), ("169.254.169.254", 80), ("168.63.129.16", 80), *mine]
        code = (
            "import json, socket, sys\n"
            "def reach(host, port):\n"
            "    try: socket.create_connection((host, port), 1).close()\n"
            "    except OSError: return False\n"
            "    return True\n"
            "print(json.dumps([p for p in json.loads(sys.argv[1]) if reach(*p)]))"
        )
        assert json.loads(cell.python(code, json.dumps(near))) == []


def _own_addresses() -> list[str]:
    """Every IPv4 address of this machine: its networks' and the gateways of the cells."""
    found = [a.address for nets in psutil.net_if_addrs().values() for a in nets]
    return [a for a in found if a.count(".") == 3 and not a.startswith("127.")]


def test_a_disk_filler_is_ended_by_the_storage_or_stopped_and_may_clean_up(site: Platform) -> None:
    """Where the storage has no quota, the agent measures; with one, the write itself fails."""
    soft = not Engine("x", base_url=site.stack.facts.docker_host).limits().disk_quota
    rental_id = site.rent(template(site, "small-disk", site.stack.image))
    rental = site.wait_state(rental_id, "running")
    done = site.ssh(rental, "dd if=/dev/zero of=/root/filler bs=1M count=1400; sleep 20")
    if soft:
        stopped = site.wait_state(rental_id, "stopped")
        assert (stopped["end"]["code"], stopped["end"]["party"]) == ("disk_full", "renter")
        assert "its disk is 1 GiB" in stopped["end"]["message"]
        assert site.act(rental_id, "start").status_code == 200
        rental = site.wait_state(rental_id, "running")
    else:
        assert "No space left" in done.stderr
    assert site.ssh(rental, "rm /root/filler; sync; sleep 12; echo clean").stdout == "clean\n"
    assert site.rental(rental_id)["state"] == "running"
    end(site, rental_id)
