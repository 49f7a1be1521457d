"""`./run demo` and `./run dev`: starts one stack, says where it is, stops it on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from deploy.local import container_engine
from deploy.local.container_engine import EngineAbsent
from deploy.local.engines import EngineError
from deploy.local.image import ImageError
from deploy.local.ports import PortUnreadable
from deploy.local.programs import StackConfig
from deploy.local.stack import Stack, StackError
from deploy.local.supervise import ProgramFailed
from deploy.local.walk import WalkFailed, person_of, signed_in, walk

LISTED_WITHIN_SECONDS = 60
WATCH_SECONDS = 0.5
PLAIN_FAILURES = (StackError, ProgramFailed, ImageError, EngineError, EngineAbsent, PortUnreadable,
                  WalkFailed)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run the demo until Ctrl-C, or until the walk is over. Returns the exit status."""
    verb, options = arguments[0], arguments[1:]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    stack: Stack | None = None
    try:
        config = StackConfig(reload=verb == "dev")
        stack = Stack(config)
        if "--fresh" in options:
            print(f"Deleting what earlier starts have kept in {stack.places.state}", flush=True)
            stack.forget()
            stack = Stack(config)
        return _run(stack, walking="--walk" in options)
    except PLAIN_FAILURES as error:
        print(f"\nThis cannot go on: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0
    finally:
        if stack is not None:
            _stop(stack)


def _run(stack: Stack, *, walking: bool) -> int:
    began, began_at = time.monotonic(), datetime.now(UTC)

    def say(note: str) -> None:
        print(f"  [{time.monotonic() - began:6.1f} s] {note}", flush=True)

    print("Starting", flush=True)
    cast = stack.start(say)
    if warning := container_engine.storage_warning(stack.facts.docker_host):
        say(warning)
    say("waiting for the machine to be listed")
    _wait_listed(stack, cast, began_at)
    say("ready")
    _introduce(stack, cast)
    if walking:
        walk(_url(stack), cast["users"], say=say)
        return 0
    while stack.supervisor.is_healthy():
        time.sleep(WATCH_SECONDS)
    raise StackError(f"the supervisor has ended:\n{stack.supervisor.last_words('')}")


def _url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.config.ports.web}"


def _wait_listed(stack: Stack, cast: dict[str, Any], began: datetime) -> None:
    """Wait until the agent has been heard since `began`: the database may remember an older life."""
    bob = person_of(cast["users"], "bob")
    deadline = time.monotonic() + LISTED_WITHIN_SECONDS
    with signed_in(_url(stack), bob["email"], bob["password"]) as host:
        while not any(_is_heard(node, began) for node in host.get("/api/v1/nodes/").json()["data"]):
            if time.monotonic() > deadline:
                words = stack.supervisor.last_words("agent")
                raise StackError(f"this machine did not get listed. Its agent says:\n{words}")
            time.sleep(WATCH_SECONDS)


def _is_heard(node: dict[str, Any], began: datetime) -> bool:
    return bool(node["listed"] and datetime.fromisoformat(node["last_beat"]) >= began)


def _introduce(stack: Stack, cast: dict[str, Any]) -> None:
    print(f"\n  {_url(stack)}")
    for user in cast["users"]:
        print(f"    {user['role']:<6}  {user['email']:<22}  {user['password']}")
    print(f"  Admin  {_url(stack)}/admin/     API  {_url(stack)}/api/docs/")
    print(f"  Logs   {stack.log('web').parent}")
    print("  Ctrl-C stops everything that was started here.\n", flush=True)


def _stop(stack: Stack) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started = stack.supervisor.is_healthy()
    if started:
        print("Stopping …", flush=True)
    stack.stop()
    if started:
        print("Stopped. What was rented and earned is kept for the next start.", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
