"""The programs of a stack, one function a group: what runs, in which order it stops, when it is ready."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from deploy.local import container_engine, engines
from deploy.local.keys import Keys, write_private
from deploy.local.places import CHECKOUT, Artifacts, StackPlaces
from deploy.local.ports import Ports, listens
from deploy.local.supervise import Program
from deploy.local.tunnels import SERVER_NAME, TunnelFiles

FOUNDATION, MIDDLE, PLATFORM, HOST = 10, 20, 30, 40
MANAGE = str(CHECKOUT / "manage.py")


@dataclass(frozen=True)
class StackConfig:
    """What may differ between stacks.

    Args:
        name: tells stacks of one checkout apart; empty for the demo.
        environment: settings laid over those that the stack works out (timings in tests).
        docker_host: the engine to use; None finds one, or starts one.
        reload: pages reload when the code changes.
        with_agent: also run the agent of this machine.
    """

    name: str = ""
    ports: Ports = field(default_factory=Ports.from_environment)
    mode: str = "demo"
    environment: Mapping[str, str] = field(default_factory=dict)
    docker_host: str | None = None
    public_host: str = "127.0.0.1"
    reload: bool = False
    with_agent: bool = True


@dataclass(frozen=True)
class Facts:
    """What every program is made from."""

    config: StackConfig
    places: StackPlaces
    artifacts: Artifacts
    keys: Keys
    docker_host: str
    owns_engine: bool
    tunnel: TunnelFiles

    @property
    def sockets(self) -> Path:
        """The folder of PostgreSQL's and Redis's sockets."""
        return self.places.run / "s"

    @property
    def redis_socket(self) -> Path:
        """Redis's socket."""
        return self.sockets / "redis.sock"

    @property
    def engine_socket(self) -> Path:
        """The socket of an engine of our own."""
        return self.places.run / "docker.sock"

    @property
    def agent_state(self) -> Path:
        """The agent's own folder; the platform never looks into it."""
        return self.places.state / "agent"


def platform_environment(facts: Facts) -> dict[str, str]:
    """Return the environment of everything that is Django."""
    config, keys, ports = facts.config, facts.keys, facts.config.ports
    first, last = ports.tunnels
    settings = {
        "DC_MODE": "dev" if config.reload else config.mode,
        "DC_SECRET_KEY": keys.secret_key,
        "DC_FIELD_KEYS": keys.field_key,
        "DC_DATABASE_URL": engines.database_url(facts.sockets),
        "DC_REDIS_URL": f"unix://{facts.redis_socket}",
        "DC_PUBLIC_URL": f"http://127.0.0.1:{ports.web}",
        "DC_STATIC_BUNDLE": str(facts.artifacts.bundle),
        "DC_GATEWAY_URL": f"ws://127.0.0.1:{ports.gateway}/ws/agent",
        "DC_GATEWAY_PORT": str(ports.gateway),
        "DC_GATE_PORT": str(ports.gate),
        "DC_TUNNEL_HOST": config.public_host,
        "DC_TUNNEL_SERVER_HOST": "127.0.0.1",
        "DC_TUNNEL_BIND_PORT": str(ports.frps),
        "DC_TUNNEL_PORTS": f"{first}-{last}",
        "DC_TUNNEL_MASTER_KEY": keys.tunnel_master_key,
        "DC_TUNNEL_CA_FILE": str(facts.tunnel.ca),
        "DC_TUNNEL_SERVER_NAME": SERVER_NAME,
        "DC_FRPS_TOKEN": keys.frps_token,
        "DC_FRPS_ADMIN_URL": f"http://127.0.0.1:{ports.frps_admin}",
        "DC_TELEMETRY_FILE": str(facts.places.state_folder("telemetry") / "telemetry.sqlite3"),
        "DC_FRPS_ADMIN_PASSWORD": keys.frps_admin_password,
        "DC_TRUSTED_REGISTRIES": f"http://127.0.0.1:{ports.registry}",
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "PYTHONUNBUFFERED": "1",
    }
    return settings | dict(config.environment)


def all_programs(facts: Facts) -> list[Program]:
    """Return the programs of this stack in the order in which they start."""
    programs = [*_memory(facts), *_machinery(facts), *_platform(facts)]
    return programs + (_host(facts) if facts.config.with_agent else [])


def _memory(facts: Facts) -> list[Program]:
    data = facts.places.state
    return [
        Program(
            "postgres",
            engines.postgres_command(data / "pg"),
            FOUNDATION,
            as_service=True,
            ready=lambda: _postgres_answers(facts),
            stop_signal="INT",
            stop_seconds=30,
        ),
        Program(
            "redis",
            engines.redis_command(data / "redis", facts.redis_socket),
            FOUNDATION,
            as_service=True,
            ready=lambda: _redis_answers(facts.redis_socket),
        ),
    ]


def _machinery(facts: Facts) -> list[Program]:
    ports = facts.config.ports
    registry_file = _registry_configuration(facts)
    programs = [
        Program(
            "registry",
            [str(facts.artifacts.registry), "serve", str(registry_file)],
            FOUNDATION,
            as_service=True,
            ready=lambda: listens(ports.registry),
        ),
        Program(
            "frps",
            [str(facts.artifacts.frp / "frps"), "-c", str(facts.tunnel.configuration)],
            MIDDLE,
            as_service=True,
            ready=lambda: listens(ports.frps),
        ),
    ]
    if facts.owns_engine:
        programs.append(_engine(facts))
    return programs


def engine_data(facts: Facts) -> Path:
    """Return where an engine of our own keeps its layers."""
    # In a container whose own disk is an overlay these two may be real ones.
    others = [Path("/var/lib/docker"), CHECKOUT / ".local"]
    known = f"dcompute-{facts.places.state.name}"
    return container_engine.data_root(
        facts.places.state / "docker", [folder / known for folder in others]
    )


def _engine(facts: Facts) -> Program:
    run = facts.places.run / "docker"
    run.mkdir(exist_ok=True)
    data = engine_data(facts)
    data.mkdir(mode=0o710, parents=True, exist_ok=True)
    return Program(
        "dockerd",
        container_engine.own_engine_command(
            socket_path=facts.engine_socket,
            data=data,
            run=run,
        ),
        FOUNDATION,
        ready=lambda: container_engine.answers(facts.docker_host),
        stop_seconds=40,
    )


def _platform(facts: Facts) -> list[Program]:
    environment, ports = platform_environment(facts), facts.config.ports
    beat = facts.places.state_folder("beat") / "schedule"
    asgi = ["-m", "daphne", "-b", "127.0.0.1", "-p", str(ports.web), "marketplace.asgi:application"]
    reloading = [MANAGE, "runserver", f"127.0.0.1:{ports.web}"]
    celery = ["-m", "celery", "-A", "marketplace"]
    worker = [*celery, "worker", "-P", "threads", "-c", "4", "-l", "INFO"]
    worker += ["--without-gossip", "--without-mingle"]
    # The clock is a program of its own: inside the worker it would be a child that a kill leaves behind.
    clock = [*celery, "beat", "-l", "INFO", "-s", str(beat), "--pidfile="]

    def python(name: str, *words: str, port: int | None = None) -> Program:
        return Program(
            name,
            [sys.executable, *words],
            PLATFORM,
            environment=environment,
            ready=lambda: port is None or listens(port),
        )

    return [
        python("web", *(reloading if facts.config.reload else asgi), port=ports.web),
        python("gateway", MANAGE, "agent_gateway", port=ports.gateway),
        python("gate", MANAGE, "frps_gate", port=ports.gate),
        python("worker", *worker),
        python("beat", *clock),
    ]


def agent_environment(facts: Facts) -> dict[str, str]:
    """Return the agent's environment: its engine and where frpc is, no secret of the platform."""
    return {
        "DOCKER_HOST": facts.docker_host,
        "DC_FRPC": str(facts.artifacts.frp / "frpc"),
        # One machine, one owner: what its platform trusts its agent may be sent to.
        "DC_AGENT_REGISTRIES": ",".join(
            map(_place, platform_environment(facts)["DC_TRUSTED_REGISTRIES"].split(","))
        ),
        "PYTHONUNBUFFERED": "1",
    }


def _place(registry: str) -> str:
    parts = urlsplit(registry)
    return parts.netloc if parts.port else f"{parts.netloc}:{80 if parts.scheme == 'http' else 443}"


def _host(facts: Facts) -> list[Program]:
    words = {"agent": "run", "frpc": "tunnel"}
    return [
        Program(
            name,
            [sys.executable, "-m", "hostagent", word, "--state-dir", str(facts.agent_state)],
            HOST,
            environment=agent_environment(facts),
            stop_seconds=15,
            # The agent ends by itself when a newer session of its node has taken over.
            may_end=name == "agent",
        )
        for name, word in words.items()
    ]


def _registry_configuration(facts: Facts) -> Path:
    """Write the registry's file; JSON is YAML."""
    folder = engines.owned_folder(facts.places.state / "registry")
    settings = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {
            "addr": f"127.0.0.1:{facts.config.ports.registry}",
            "secret": facts.keys.registry_secret,
        },
    }
    path = folder / "registry.yml"
    write_private(path, json.dumps(settings, indent=1))
    engines.give_to_service(path)
    return path


def _postgres_answers(facts: Facts) -> bool:
    try:
        psycopg.connect(engines.database_url(facts.sockets), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(socket: Path) -> bool:
    try:
        return bool(redis.Redis(unix_socket_path=str(socket)).ping())
    except redis.RedisError:
        return False
