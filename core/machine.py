"""A table of legal moves between states. Pure: it can be drawn, tested and put in a constraint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


class IllegalMove(Exception):
    """Code asked for a move that the table does not have: a bug, never a user's mistake."""


class Table(Generic[S]):
    """The legal moves of one state machine.

    Args:
        name: what the machine is about, for diagrams and messages.
        edges: state -> the states it may move to. Every state is a key; a final state maps to nothing.
    """

    def __init__(self, name: str, edges: Mapping[S, Iterable[S]]) -> None:
        self.name = name
        self.edges: dict[S, frozenset[S]] = {state: frozenset(to) for state, to in edges.items()}

    def check(self, frm: S, to: S) -> None:
        """Raise IllegalMove unless the table has the move `frm` -> `to`."""
        if to not in self.edges[frm]:
            raise IllegalMove(f"{self.name}: {frm} -> {to}")

    def allows(self, frm: S, to: S) -> bool:
        """Say whether the table has the move `frm` -> `to`."""
        return to in self.edges[frm]

    def sources(self, to: S) -> frozenset[S]:
        """Return every state from which `to` is one move away."""
        return frozenset(frm for frm, tos in self.edges.items() if to in tos)

    @property
    def final(self) -> frozenset[S]:
        """Return the states that nothing leaves."""
        return frozenset(state for state, tos in self.edges.items() if not tos)

    def to_mermaid(self) -> str:
        """Return the machine as a Mermaid state diagram, in table order."""
        lines = ["stateDiagram-v2"]
        for frm, tos in self.edges.items():
            lines += [f"    {frm} --> {to}" for to in sorted(tos)]
            if not tos:
                lines.append(f"    {frm} --> [*]")
        return "\n".join(lines)
