"""The Docker Engine, as this agent uses it: names and labels of our own, every call safe to repeat."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import psutil
from docker.errors import (
    APIError,
    DockerException,
    ImageNotFound,
    InvalidRepository,
    NotFound,
    NullResource,
)
from requests.exceptions import RequestException

from hostagent.hardware import engine_rlimits, has_disk_quota
from hostagent.load import Usage
from hostagent.netpol import BRIDGE_PREFIX
from hostagent.planner import Container
from hostagent.protocol import MAX_LOG_CHARS, ContainerSpec, PullRecord, RegistryLogin
from hostagent.pulling import DOWNLOADING, count, said
from hostagent.refusals import refused
from hostagent.spec import MachineLimits, Place, container_config

OUR_NAME = re.compile(r"/dc-[0-9a-f-]{36}-g[1-9][0-9]{0,8}")
POOL = ipaddress.ip_network("10.213.0.0/16")
SUBNET_BITS = 28
LOG_LINES = 1000
EXEC_POLL_SECONDS = 0.2
MAX_MESSAGE_CHARS = 2000
Progress = Callable[[int, int | None], None]


class EngineError(Exception):
    """The engine refused, for good: `code` goes to the platform, the message to the renter."""

    def __init__(self, code: str, message: str) -> None:
        # Some of it is a registry's or an image's own words: short and storable, or the report is lost.
        super().__init__(message.replace("\x00", "")[:MAX_MESSAGE_CHARS])
        self.code = code


class EngineAway(Exception):
    """The engine does not answer now; try again later."""


class PullCancelled(Exception):
    """Nobody wants this image any more."""


def _calls(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except APIError as error:
            raise EngineError(*refused(_explain(error))) from error
        except (DockerException, RequestException) as error:
            raise EngineAway(str(error)) from error

    return call


def _pull_error(image: str, message: str) -> EngineError:
    return EngineError(*said(image, message))


def _explain(error: APIError) -> str:
    return str(error.explanation or error)[:1000]


class Engine:
    """One engine and one node's containers on it. Blocking: call it from threads."""

    def __init__(self, node_id: str, *, base_url: str | None = None) -> None:
        self.node_id = node_id
        self._address = base_url or os.environ.get("DOCKER_HOST") or None
        self._api: docker.APIClient | None = None
        self._subnets = threading.Lock()

    @property
    def api(self) -> docker.APIClient:
        """The client, in the version that this engine speaks: asked at first use, when it answers."""
        if self._api is None:
            self._api = docker.APIClient(base_url=self._address, timeout=60, version="auto")
        return self._api

    @_calls
    def info(self) -> dict[str, Any]:
        """Return what the engine says of itself."""
        return dict(self.api.info())

    def limits(self) -> MachineLimits:
        """Return what this engine can hold."""
        info = self.info()
        nofile, memlock = engine_rlimits()
        return MachineLimits(
            nofile=nofile,
            memlock=memlock,
            cores=int(info.get("NCPU", 1)),
            disk_quota=has_disk_quota(info),
            apparmor=any("apparmor" in option for option in info.get("SecurityOptions") or []),
        )

    @_calls
    def containers(self) -> list[dict[str, Any]]:
        """Return this node's containers: each with its labels."""
        return list(self.api.containers(all=True, filters={"label": f"dc.node={self.node_id}"}))

    def ours(self) -> list[tuple[str, int]]:
        """Return (workload id, generation) of the containers that this agent made.

        A label alone proves nothing: an image hands its own on to whoever runs it. The name does.
        """
        return [
            (labels["dc.workload"], int(labels["dc.generation"]))
            for container in self.containers()
            if _is_ours(container, labels := container.get("Labels") or {})
        ]

    @_calls
    def inspect(self, name: str) -> dict[str, Any] | None:
        """Return everything about one container, or None."""
        try:
            return dict(self.api.inspect_container(name))
        except NotFound:
            return None

    def state(self, name: str) -> tuple[Container, dict[str, Any]]:
        """Return what the container is, with the engine's own State."""
        found = self.inspect(name)
        if found is None:
            return Container.NONE, {}
        state = found["State"]
        if state["Running"]:
            return Container.RUNNING, state
        return (Container.CREATED if state["Status"] == "created" else Container.EXITED), state

    @_calls
    def has_image(self, image: str) -> bool:
        """Whether the image is on this machine."""
        try:
            self.api.inspect_image(image)
        except ImageNotFound:
            return False
        return True

    def pull(
        self,
        image: str,
        progress: Progress,
        cancelled: threading.Event,
        login: RegistryLogin | None = None,
    ) -> PullRecord:
        """Download an image, telling the bytes.

        Raises EngineError `image_missing`, `image_login_refused`, `image_pull_failed`.
        """
        layers: dict[str, tuple[int, int | None]] = {}
        began = downloaded = time.monotonic()
        try:
            for line in self._pull_lines(image, login):
                if cancelled.is_set():
                    raise PullCancelled
                if "errorDetail" in line:
                    raise _pull_error(image, str(line["errorDetail"].get("message", "")))
                count(layers, line)
                if line.get("status") in DOWNLOADING:
                    downloaded = time.monotonic()
                total = [layer[1] for layer in layers.values()]
                known = sum(t for t in total if t) if total and all(total) else None
                progress(sum(layer[0] for layer in layers.values()), known)
        except APIError as error:
            raise _pull_error(image, _explain(error)) from error
        except (InvalidRepository, NullResource) as error:
            raise EngineError("image_missing", f"{image} is no image's name: {error}") from error
        except (DockerException, RequestException) as error:
            raise EngineAway(str(error)) from error
        if not self.has_image(image):
            raise EngineError(
                "image_pull_failed", f"The download of {image} ended without an image."
            )
        return PullRecord(
            bytes=sum(layer[0] for layer in layers.values()),
            seconds=downloaded - began,
            unpack_seconds=time.monotonic() - downloaded,
        )

    @_calls
    def image_ids(self) -> list[str]:
        """Return the ids of the images on this machine, newest first."""
        found = sorted(self.api.images(), key=lambda image: -int(image.get("Created") or 0))
        return [str(image["Id"]) for image in found]

    @_calls
    def layers_of(self, image: str) -> list[str]:
        """Return the diff ids of an image's layers, the lowest first; none when it is gone."""
        try:
            told = self.api.inspect_image(image)
        except ImageNotFound:
            return []
        return [str(layer) for layer in (told.get("RootFS") or {}).get("Layers") or []]

    def _pull_lines(self, image: str, login: RegistryLogin | None) -> Iterator[dict[str, Any]]:
        repository, tag = image, None
        if "@" not in image and ":" in image.rpartition("/")[2]:
            repository, _, tag = image.rpartition(":")
        yield from self.api.pull(
            repository,
            tag=tag or ("latest" if "@" not in image else None),
            stream=True,
            decode=True,
            # An empty log-in keeps the client from looking for one of the machine's owner.
            auth_config={"username": login.user, "password": login.password} if login else {},
        )

    @_calls
    def image_config(self, image: str) -> dict[str, Any]:
        """Return what an image says of its own program."""
        return dict(self.api.inspect_image(image).get("Config") or {})

    @_calls
    def ensure_network(self, name: str, bridge: str, labels: dict[str, str]) -> str:
        """Make a private network of 16 addresses unless it is there; return the container's address."""
        with self._subnets:
            found = [n for n in self.api.networks(names=[name]) if n["Name"] == name]
            if found:
                return _first_address(found[0]["IPAM"]["Config"][0]["Subnet"])
            taken = [
                ipaddress.ip_network(config["Subnet"])
                for network in self.api.networks()
                for config in (network["IPAM"]["Config"] or [])
                if ":" not in config.get("Subnet", ":")
            ]
            taken += _host_networks()
            for subnet in POOL.subnets(new_prefix=SUBNET_BITS):
                if any(subnet.overlaps(other) for other in taken):
                    continue
                self._create_network(name, bridge, str(subnet), labels)
                return _first_address(str(subnet))
        raise EngineError("networks_exhausted", "This machine has no free network address range.")

    def _create_network(self, name: str, bridge: str, subnet: str, labels: dict[str, str]) -> None:
        ipam = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
        self.api.create_network(
            name,
            driver="bridge",
            ipam=ipam,
            labels=labels,
            enable_ipv6=False,
            check_duplicate=True,
            options={
                "com.docker.network.bridge.name": bridge,
                "com.docker.network.bridge.enable_icc": "false",
            },
        )

    @_calls
    def create(self, spec: ContainerSpec, place: Place, limits: MachineLimits) -> None:
        """Create the container; its name makes a repetition harmless."""
        config = container_config(spec, place, limits)
        try:
            self.api.create_container_from_config(config, name=place.name)
        except APIError as error:
            if error.status_code != 409:
                raise

    @_calls
    def start(self, name: str) -> None:
        """Start the container."""
        self.api.start(name)

    @_calls
    def stop(self, name: str, timeout: int) -> None:
        """Stop the container: TERM, then KILL after `timeout` seconds."""
        try:
            self.api.stop(name, timeout=timeout)
        except NotFound:
            return

    @_calls
    def run_inside(self, name: str, words: list[str], timeout: int) -> int | None:
        """Run a program in a running container; return its exit status, None after `timeout` s."""
        made = self.api.exec_create(name, words, stdout=False, stderr=False)
        self.api.exec_start(made["Id"], detach=True)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self.api.exec_inspect(made["Id"])
            if not state["Running"] and state["ExitCode"] is not None:
                return int(state["ExitCode"])
            time.sleep(EXEC_POLL_SECONDS)
        return None

    @_calls
    def usage(self, name: str) -> Usage:
        """Return what a container has used since it was started."""
        seen = self.api.stats(name, stream=False, one_shot=True)
        networks = (seen.get("networks") or {}).values()
        return Usage(
            at=time.monotonic(),
            cpu_seconds=seen["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            sent_bytes=sum(int(network.get("tx_bytes", 0)) for network in networks),
        )

    @_calls
    def sizes(self) -> dict[tuple[str, int], int]:
        """Return (workload id, generation) -> bytes written by each container that runs; walks their files."""
        filters = {"label": f"dc.node={self.node_id}"}
        return {
            (labels["dc.workload"], int(labels["dc.generation"])): int(found.get("SizeRw") or 0)
            for found in self.api.containers(size=True, filters=filters)
            if _is_ours(found, labels := found.get("Labels") or {})
        }

    @_calls
    def log_tail(self, name: str) -> str:
        """Return the last words of a container, at most MAX_LOG_CHARS; empty when there is none."""
        try:
            raw = self.api.logs(name, tail=LOG_LINES, timestamps=True)
        except NotFound:
            return ""
        return bytes(raw).decode(errors="replace").replace("\x00", "")[-MAX_LOG_CHARS:]

    @_calls
    def remove(self, name: str) -> None:
        """Delete the container with its disk."""
        try:
            self.api.remove_container(name, v=True, force=True)
        except NotFound:
            return

    @_calls
    def remove_network(self, name: str) -> None:
        """Delete the network."""
        try:
            self.api.remove_network(name)
        except NotFound:
            return

    @_calls
    def network_exists(self, name: str) -> bool:
        """Whether the network is there."""
        return any(network["Name"] == name for network in self.api.networks(names=[name]))

    def deaths(self) -> Iterator[str]:
        """Yield the workload id of each of our containers that dies, as it happens. Blocks for ever."""
        filters = {"label": f"dc.node={self.node_id}", "event": "die", "type": "container"}
        try:
            for event in self.api.events(filters=filters, decode=True):
                yield event["Actor"]["Attributes"].get("dc.workload", "")
        except (DockerException, RequestException, ValueError) as error:
            raise EngineAway(str(error)) from error


def _is_ours(container: dict[str, Any], labels: dict[str, str]) -> bool:
    name = f"/dc-{labels.get('dc.workload', '')}-g{labels.get('dc.generation', '')}"
    return bool(OUR_NAME.fullmatch(name)) and name in (container.get("Names") or [])


def _host_networks() -> list[ipaddress.IPv4Network]:
    """Return the networks on this machine's interfaces: another engine's routes would swallow ours."""
    return [
        ipaddress.IPv4Network(f"{address.address}/{address.netmask}", strict=False)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.netmask
    ]


def bridge_name(workload_id: str) -> str:
    """Return the interface name of a workload's bridge (at most 15 characters)."""
    return BRIDGE_PREFIX + workload_id.replace("-", "")[:8]


def _first_address(subnet: str) -> str:
    return str(ipaddress.ip_network(subnet)[2])
