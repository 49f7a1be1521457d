"""`hostagent join | run | tunnel | status | doctor`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from hostagent import __version__, checks, hardware, registries, tunnel
from hostagent.agent import Agent
from hostagent.engine import Engine, EngineAway
from hostagent.identity import Identity, Membership
from hostagent.link import LinkRefused, check_url
from hostagent.protocol import JoinAnswer, JoinRequest, join_statement

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()
Answer = TypeVar("Answer")
StateDir = Annotated[Path, typer.Option("--state-dir", help="Where the agent keeps its files.")]
DEFAULT_STATE = Path("/var/lib/dcompute-agent")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _stop(message: str, code: int = 1) -> typer.Exit:
    console.print(f"[red]{message}[/red]")
    return typer.Exit(code)


def _engine_info() -> dict[str, Any]:
    return _ask_engine(Engine("").info)


def _ask_engine(question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except EngineAway as error:
        raise _stop(f"The Docker Engine does not answer: {error}. Install and start it.") from error


@app.command()
def join(
    server: Annotated[str, typer.Option(help="The platform's address, https://…")],
    key: Annotated[
        str, typer.Option(help="The node key from the fleet page; this machine's own unless given.")
    ] = "",
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Register this machine. Repeating it only learns where the platform is now."""
    try:
        check_url(server.replace("http", "ws", 1))
    except LinkRefused as error:
        raise _stop(f"{server} is not encrypted: only https:// leaves this machine.") from error
    identity = Identity(state_dir)
    key = key or _own_key(identity)
    answer = _post_join(server, key, _request(identity, key, state_dir))
    identity.save_membership(
        Membership(
            node_id=answer.node_id,
            key_id=answer.key_id,
            deployment=answer.deployment,
            gateway_url=answer.gateway_url,
            node_key=key,
        )
    )
    if as_json:
        typer.echo(msgspec.json.encode(answer).decode())
    else:
        console.print(f"Node registered: {answer.node_id}. Start it with `hostagent run`.")


def _own_key(identity: Identity) -> str:
    membership = identity.membership()
    if membership is None:
        raise _stop("This machine has not joined: give --key with a node key of the fleet page.")
    return membership.node_key


def _request(identity: Identity, key: str, state_dir: Path) -> JoinRequest:
    info = _engine_info()
    statement = join_statement(
        node_key=key, public_key=identity.public_key, instance_id=identity.instance_id
    )
    return JoinRequest(
        public_key=identity.public_key,
        signature=identity.sign(statement),
        agent_version=__version__,
        instance_id=identity.instance_id,
        facts=hardware.host_facts(info, storage=state_dir),
        checks=checks.run_all(info, state_dir),
    )


def _post_join(server: str, key: str, request: JoinRequest) -> JoinAnswer:
    try:
        answer = httpx.post(
            f"{server.rstrip('/')}/api/v1/agent/join",
            headers={"Authorization": f"Bearer {key}"},
            json=msgspec.to_builtins(request),
            timeout=30,
        )
    except httpx.HTTPError as error:
        raise _stop(f"{server} does not answer: {error}") from error
    try:
        body = answer.json()
    except ValueError as error:
        raise _stop(
            f"{server} answers {answer.status_code}, and not as a platform would."
        ) from error
    if answer.status_code != 200:
        raise _stop(f"{body.get('error')} ({body.get('code')})")
    return msgspec.convert(body["data"], JoinAnswer)


@app.command()
def run(state_dir: StateDir = DEFAULT_STATE) -> None:
    """Run the agent in the foreground."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    identity = Identity(state_dir)
    try:
        registries.allowed_inside()
    except ValueError as error:
        raise _stop(f"{registries.SETTING}: {error}") from error
    membership = _await_membership(identity)
    refused: list[BaseException] = []
    try:
        asyncio.run(_until_stopped(Agent(state_dir, membership, identity)))
    except* LinkRefused as group:
        refused += group.exceptions
    if refused:
        # Exit code 0: a supervisor must not start us again, a newer session has taken over. Not raised above: Python
        # 3.11.2, which Debian 12 has, wraps what is raised in there into a group, and the code would be 1.
        raise _stop(str(refused[0]), code=0)


async def _until_stopped(agent: Agent) -> None:
    task = asyncio.ensure_future(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped; containers and tunnels stay as they are")


def _await_membership(identity: Identity) -> Membership:
    told = False
    while True:
        membership = identity.membership()
        if membership is not None:
            return membership
        if not told:
            console.print("Waiting for `hostagent join`.")
            told = True
        time.sleep(0.2)


@app.command(name="tunnel")
def run_tunnel(state_dir: StateDir = DEFAULT_STATE) -> None:
    """Become this node's frpc, as soon as the platform has told how."""
    binary = os.environ.get("DC_FRPC") or shutil.which("frpc")
    if not binary:
        raise _stop("frpc is missing: put it on PATH or name it in DC_FRPC.")
    while not (state_dir / tunnel.CONFIG).exists():
        time.sleep(0.2)
    os.execv(binary, [binary, "-c", str(state_dir / tunnel.CONFIG)])  # noqa: S606  # our own frpc


@app.command()
def status(state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Say who this node is and what runs on it."""
    membership = Identity(state_dir).membership()
    if membership is None:
        raise _stop("This machine has not joined. Make a node key and run `hostagent join`.")
    containers = [
        {"name": c["Names"][0].lstrip("/"), "state": c["State"], "image": c["Image"]}
        for c in _ask_engine(Engine(membership.node_id).containers)
    ]
    if as_json:
        typer.echo(json.dumps({"node_id": membership.node_id, "containers": containers}))
        return
    console.print(f"Node {membership.node_id} of {membership.deployment}")
    for container in containers:
        console.print(f"  {container['state']:10} {container['name']}  {container['image']}")


@app.command()
def doctor(state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Test this machine; exit 1 when something would keep it from being listed."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    results = checks.run_all(_engine_info(), state_dir)
    if as_json:
        typer.echo(msgspec.json.encode(results).decode())
    else:
        table = Table("check", "", "measured", "required", "what to do")
        for r in results:
            mark = "[green]ok[/green]" if r.passed else f"[red]{r.severity}[/red]"
            table.add_row(r.check, mark, r.measured, r.required, "" if r.passed else r.remedy)
        console.print(table)
    if any(not r.passed and r.severity == "refuse" for r in results):
        raise typer.Exit(1)
