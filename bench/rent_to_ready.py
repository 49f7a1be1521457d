"""From the rent request to the SSH banner through the public port, image cached.

Floor: the same container by hand, in the same run, on the same engine: network, create with the same
options, start, one frpc proxy, banner. Ours and the floor take turns, so that a busy machine is busy
for both; the medians are compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import docker
import httpx

from deploy.local.ports import Ports
from hostagent.engine import Engine
from hostagent.protocol import ContainerSpec, ResourceLimits
from hostagent.spec import Place
from rentals.probing import ssh_answers
from tests.stacks import Platform, platform, wait_for

ROUNDS = 7
MUST, AIM = 1.5, 1.15


def banner(port: int) -> None:
    """Wait for the SSH banner, asking as often as it may help."""
    wait_for(lambda: ssh_answers("127.0.0.1", port, timeout=1), seconds=30, what="the SSH banner")


def ours(site: Platform) -> float:
    """Return the seconds from the rent request to the banner."""
    quote = site.quote()
    began = time.perf_counter()
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answer = site.call("alice", "POST", "rentals/", json={"quote_id": quote["id"]}, headers=headers)
    rental = answer.json()["data"]
    banner(rental["ssh"]["port"])
    took = time.perf_counter() - began
    site.wait_state(rental["id"], "running")
    site.act(rental["id"], "end")
    site.wait_state(rental["id"], "ended")
    return took


class ByHand:
    """frps and frpc started by hand, without gate and without platform."""

    def __init__(self, site: Platform, folder: Path) -> None:
        ports = Ports.free()
        self.port = ports.tunnels[0]
        self.admin = f"http://127.0.0.1:{ports.frps_admin}"
        server, client = folder / "frps.toml", folder / "frpc.toml"
        server.write_text(
            f'bindAddr = "127.0.0.1"\nbindPort = {ports.frps}\nproxyBindAddr = "127.0.0.1"\n'
            "transport.tcpMux = false\n"
        )
        client.write_text(
            f'serverAddr = "127.0.0.1"\nserverPort = {ports.frps}\nloginFailExit = false\n'
            f"transport.tcpMux = false\nwebServer.port = {ports.frps_admin}\n"
            f'store.path = "{folder / "store.json"}"\n'
        )
        frp = site.stack.facts.artifacts.frp
        self.programs = [
            subprocess.Popen([frp / name, "-c", file], stdout=subprocess.DEVNULL)
            for name, file in (("frps", server), ("frpc", client))
        ]
        self.engine = Engine("by-hand", base_url=site.stack.facts.docker_host)
        self.limits = self.engine.limits()
        self.image = site.stack.image
        self.keys = folder / "keys"
        self.keys.write_text(site.ssh_key.with_suffix(".pub").read_text())
        self.keys.chmod(0o600)
        wait_for(self._ready, seconds=10, what="frpc by hand")

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.admin}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        for program in self.programs:
            program.terminate()
            program.wait()

    def run(self) -> float:
        """Return the seconds from `network create` to the banner."""
        name = f"byhand-{uuid.uuid4().hex[:8]}"
        cores, memory = self.limits.cores, 4096
        limits = ResourceLimits(
            cpu_cores=cores, memory_mib=memory, ram_limit="4g", disk_gb=10, shm_mib=1024, pids=4096
        )
        spec = ContainerSpec(
            image=self.image,
            hostname="by-hand",
            env_vars={},
            command=None,
            ssh_keys=[],
            ssh_port=22,
            resource_limits=limits,
            proxy_port_mapping={},
        )
        began = time.perf_counter()
        address = self.engine.ensure_network(name, f"mk{name[-8:]}", {})
        place = Place(name, name, address, str(self.keys), {})
        self.engine.create(spec, place, self.limits)
        self.engine.start(name)
        tcp = {"localIP": address, "localPort": 22, "remotePort": self.port}
        body = {"name": name, "type": "tcp", "tcp": tcp}
        httpx.post(f"{self.admin}/api/store/proxies", json=body).raise_for_status()
        banner(self.port)
        took = time.perf_counter() - began
        httpx.delete(f"{self.admin}/api/store/proxies/{name}")
        self.engine.remove(name)
        self.engine.remove_network(name)
        return took


def main() -> int:
    with tempfile.TemporaryDirectory() as name, platform("bench", Path(name)) as site:
        docker.DockerClient(base_url=site.stack.facts.docker_host).images.pull(site.stack.image)
        by_hand = ByHand(site, Path(name))
        try:
            by_hand.run()
            ours(site)
            pairs = [(ours(site), by_hand.run()) for _ in range(ROUNDS)]
        finally:
            by_hand.stop()
    mine = statistics.median(pair[0] for pair in pairs)
    floor = statistics.median(pair[1] for pair in pairs)
    ratio = mine / floor
    line = {
        "bench": "rent_to_ready",
        "case": f"cached image, median of {ROUNDS}",
        "ours": round(mine, 3),
        "floor": round(floor, 3),
        "ratio": round(ratio, 2),
        "unit": "s",
        "must": MUST,
        "aim": AIM,
        "ok": ratio <= MUST,
    }
    print(json.dumps(line))
    return 0 if ratio <= MUST else 1


if __name__ == "__main__":
    sys.exit(main())
