"""What to do next for one workload: wish and facts in, one action out. Pure.

At rest the plan is empty; applied again and again it always reaches the wish or a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Wish(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


class Container(StrEnum):
    """What the engine says of the container."""

    NONE = "none"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Action(StrEnum):
    CREATE = "create"
    START = "start"
    OPEN_TUNNELS = "open_tunnels"
    CLOSE_TUNNELS = "close_tunnels"
    STOP = "stop"
    REMOVE = "remove"
    FAIL = "fail"
    NOTHING = "nothing"


# What a shell, and the engine's own first program, mean by these.
_EXITS = {
    126: ": usually its command may not be executed, or is made for another kind of processor",
    127: ": usually its command is not in the image",
}


@dataclass(frozen=True)
class Facts:
    """What is true of one workload on this machine.

    `stopped_by_us` tells a container that we stopped from one that ended by itself; `failed` says that
    this incarnation has failed already and is not tried again; `leftovers` are networks and key files;
    `restart_due` tells that it should be stopped and started once; `was_there` that this incarnation has
    had a container that was started, so that there was a disk with something on it.
    """

    container: Container
    tunnels_open: bool
    any_tunnel: bool
    stopped_by_us: bool
    failed: bool
    leftovers: bool
    restart_due: bool = False
    was_there: bool = False


def plan(wish: Wish, facts: Facts) -> Action:
    """Return the next action for a workload."""
    if wish is Wish.RUNNING:
        return _towards_running(facts)
    if facts.any_tunnel:
        return Action.CLOSE_TUNNELS
    if facts.container is Container.RUNNING:
        return Action.STOP
    if wish is Wish.ABSENT and (facts.container is not Container.NONE or facts.leftovers):
        return Action.REMOVE
    return Action.NOTHING


def _towards_running(facts: Facts) -> Action:
    if facts.failed:
        # What has failed does not go on running, whoever noticed first.
        return Action.STOP if facts.container is Container.RUNNING else Action.NOTHING
    if facts.container is Container.NONE:
        # A fresh one has an empty disk: whoever rents this must be told, not given it in silence.
        return Action.FAIL if facts.was_there else Action.CREATE
    if facts.container is Container.CREATED:
        return Action.START
    if facts.container is Container.EXITED:
        return Action.START if facts.stopped_by_us else Action.FAIL
    if facts.restart_due:
        # Stopped by us, it is started again by the next step.
        return Action.STOP
    return Action.NOTHING if facts.tunnels_open else Action.OPEN_TUNNELS


def why_it_failed(container: Container, state: dict[str, Any]) -> tuple[str, str]:
    """Return a code and words for a container that does not run and that nobody stopped."""
    if container is Container.NONE:
        return "host_removed", "The container was removed from this machine, with its disk."
    if state.get("OOMKilled"):
        return "oom_killed", "The container used more memory than it has."
    exit_code = int(state.get("ExitCode", -1))
    why = _EXITS.get(exit_code, "")
    return "container_exited", f"The container ended by itself (exit {exit_code}{why})."
