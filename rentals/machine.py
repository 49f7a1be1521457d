"""The life of a rental: states, legal moves, and which of them a person can ask for. Pure."""

from __future__ import annotations

from enum import StrEnum

from core.machine import Table


class State(StrEnum):
    REQUESTED = "requested"
    RESERVED = "reserved"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDED = "ended"


RENTAL = Table[State](
    "Rental",
    {
        State.REQUESTED: {State.RESERVED, State.ENDED},
        State.RESERVED: {State.PULLING, State.STARTING, State.STOPPING},
        State.PULLING: {State.STARTING, State.STOPPING},
        State.STARTING: {State.PULLING, State.RUNNING, State.STOPPING},
        State.RUNNING: {State.STOPPING},
        State.STOPPING: {State.STOPPED, State.ENDED},
        State.STOPPED: {State.STARTING, State.STOPPING},
        State.ENDED: set(),
    },
)
# On the way to being usable: nothing is billed yet.
COMING_UP = frozenset({State.REQUESTED, State.RESERVED, State.PULLING, State.STARTING})
LIVE = frozenset(State) - {State.ENDED}


class Action(StrEnum):
    STOP = "stop"
    START = "start"
    END = "end"


def actions(state: State) -> tuple[Action, ...]:
    """Return what a renter can ask for in this state, the usual first."""
    if state in COMING_UP:
        return (Action.END,)
    return {
        State.RUNNING: (Action.STOP, Action.END),
        State.STOPPED: (Action.START, Action.END),
    }.get(state, ())
