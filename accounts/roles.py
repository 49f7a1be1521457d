"""What each role may do. A role is a bundle of permissions. Pure."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    RENT = "RENT"
    LEASE = "LEASE"
    BOTH = "BOTH"


_EVERYONE = frozenset(
    {"offer:read", "wallet:read", "wallet:deposit", "api_key:manage", "notice:manage"}
)
_RENTER = frozenset(
    {
        "rental:create",
        "rental:manage",
        "ssh_key:manage",
        "template:manage",
        "secret:manage",
        "secret:use",
    }
)
_HOST = frozenset({"node:manage", "node_key:manage", "earnings:read", "payout:request"})

PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.RENT: _EVERYONE | _RENTER,
    Role.LEASE: _EVERYONE | _HOST,
    Role.BOTH: _EVERYONE | _RENTER | _HOST,
}
STAFF = PERMISSIONS[Role.BOTH] | {"staff", "template:official"}
