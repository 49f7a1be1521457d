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
        # A restart, or a fresh container: usable again only when it answers again.
        State.RUNNING: {State.STARTING, State.STOPPING},
        # A start during the stop turns it round, with the machine still held.
        State.STOPPING: {State.STARTING, State.STOPPED, State.ENDED},
        State.STOPPED: {State.STARTING, State.STOPPING},
        State.ENDED: set(),
    },
)
# On the way to being usable: nothing is billed yet.
COMING_UP = frozenset({State.REQUESTED, State.RESERVED, State.PULLING, State.STARTING})
LIVE = frozenset(State) - {State.ENDED}
# There is a disk that costs something while the machine stands still.
DISK_KEPT = frozenset({State.STOPPING, State.STOPPED})


class PriceState(StrEnum):
    """What became of a new price: asked for, answered, in force, or of no account any more."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    APPLIED = "applied"
    LAPSED = "lapsed"


PRICE = Table[PriceState](
    "Price of a rental",
    {
        # A price that is not higher needs no consent.
        PriceState.PROPOSED: {
            PriceState.ACCEPTED,
            PriceState.REFUSED,
            PriceState.APPLIED,
            PriceState.LAPSED,
        },
        # Until it applies, a renter may think again.
        PriceState.ACCEPTED: {PriceState.REFUSED, PriceState.APPLIED, PriceState.LAPSED},
        PriceState.REFUSED: {PriceState.ACCEPTED, PriceState.APPLIED, PriceState.LAPSED},
        PriceState.APPLIED: set(),
        PriceState.LAPSED: set(),
    },
)


class Action(StrEnum):
    STOP = "stop"
    START = "start"
    RESTART = "restart"
    RECREATE = "recreate"
    END = "end"


def actions(state: State, *, ending: bool) -> tuple[Action, ...]:
    """Return what a renter can ask for in this state, the usual first.

    `ending`: its disk is being deleted, and nothing turns that round.
    """
    if ending:
        return ()
    if state in COMING_UP:
        return (Action.END,)
    return {
        State.RUNNING: (Action.STOP, Action.RESTART, Action.RECREATE, Action.END),
        State.STOPPING: (Action.START, Action.END),
        State.STOPPED: (Action.START, Action.RECREATE, Action.END),
    }.get(state, ())
