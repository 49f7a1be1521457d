"""Who does something: one value that every service gets first. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from core.errors import Forbidden


@dataclass(frozen=True)
class Actor:
    """A person, an agent, staff or the platform itself, with what it may do.

    `kind` is user, staff, agent or system; `id` a UUID as text, or "system".
    """

    kind: str
    id: str
    label: str
    permissions: frozenset[str]

    @classmethod
    def system(cls) -> Actor:
        """The platform acting by itself: reconcilers, clocks, commands."""
        return cls("system", "system", "the platform", frozenset({"*"}))

    @classmethod
    def of_agent(cls, node_id: uuid.UUID, name: str) -> Actor:
        """The agent of a node; it may only report."""
        return cls("agent", str(node_id), name, frozenset())

    @property
    def user_id(self) -> uuid.UUID:
        """The person's id; raises Forbidden `person_needed` for anything but a person."""
        if self.kind not in {"user", "staff"}:
            raise Forbidden("person_needed", "Only a person can do this.")
        return uuid.UUID(self.id)

    @property
    def is_staff(self) -> bool:
        """Whether this actor sees everybody's things."""
        return self.kind in {"staff", "system"}

    def may(self, permission: str) -> bool:
        """Say whether the actor has the permission."""
        return "*" in self.permissions or permission in self.permissions

    def require(self, permission: str) -> None:
        """Raise Forbidden `permission_missing` unless the actor has the permission."""
        if not self.may(permission):
            raise Forbidden(
                "permission_missing",
                f"This needs the permission {permission}, which this account or key does not have.",
                permission=permission,
            )
