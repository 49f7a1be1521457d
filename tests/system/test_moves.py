"""A stack that starts again: on other ports, over data of older code, and after all was forgotten."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import schema
from deploy.local.ports import Ports
from deploy.local.programs import StackConfig
from deploy.local.stack import AGENT_LABEL, Stack, StackError, membership
from tests.stacks import SHORT, Platform

NAME = "moves"
# Three starts of a whole platform.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def stack_on(ports: Ports) -> Stack:
    trusted = {"DC_TRUSTED_REGISTRIES": f"http://127.0.0.1:{ports.registry}"}
    return Stack(StackConfig(name=NAME, ports=ports, mode="test", environment=SHORT | trusted))


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose machine has joined, and that has ended."""
    stack_on(Ports.free()).forget()
    stack = stack_on(Ports.free())
    try:
        stack.start()
    finally:
        stack.stop()
    yield stack
    stack.remove()


def bridge_of(stack: Stack, node: str) -> Path:
    """Return the interface of the one network that carries the node's label."""
    client = ["docker", "-H", stack.facts.docker_host, "network"]
    label = ["-q", "--filter", f"label={AGENT_LABEL}={node}"]
    [found] = subprocess.check_output([*client, "ls", *label], text=True).split()
    option = '{{index .Options "com.docker.network.bridge.name"}}'
    name = subprocess.check_output([*client, "inspect", "-f", option, found], text=True).strip()
    return Path("/sys/class/net") / name


def test_a_machine_that_joined_is_rented_on_other_ports_and_goes_with_the_data(
    first: Stack, tmp_path: Path
) -> None:
    joined = membership(first.facts.agent_state)
    assert joined is not None
    stack = stack_on(Ports.free())
    try:
        site = Platform(stack, tmp_path, stack.start())
        moved = membership(stack.facts.agent_state)
        assert moved == joined | {
            "deployment": stack.environment["DC_PUBLIC_URL"],
            "gateway_url": stack.environment["DC_GATEWAY_URL"],
        }
        rental = site.wait_state(site.rent(), "running")
        low, high = stack.config.ports.tunnels
        assert low <= rental["ssh"]["port"] <= high
        assert site.ssh(rental, "echo $((6*7))").stdout == "42\n"
        bridge = bridge_of(stack, joined["node_id"])
        assert bridge.exists()
    finally:
        stack.stop()
    # It goes on with what was rented; then code comes by that would not read its tables.
    record = stack.places.state / schema.RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"nodes/0001_initial": "older"}))
    stack = stack_on(stack.config.ports)
    with pytest.raises(StackError) as refused:
        stack.start()
    assert "(nodes/0001_initial changed; until 1.0" in str(refused.value)
    assert "`./run demo --fresh` deletes that data" in str(refused.value)
    assert stack.pid("web") is None
    stack.stop()
    assert schema.RECORD in {path.name for path in stack.places.state.iterdir()}
    stack = stack_on(stack.config.ports)
    stack.forget()
    assert not stack.places.state.exists()
    assert not bridge.exists()
