"""What a machine is told to log in with. Values of this kind print no password."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class RegistryLogin(msgspec.Struct, kw_only=True):
    """How the engine logs in to the image's registry for this pull; nobody writes it down."""

    user: Annotated[str, Meta(max_length=200)]
    password: str

    def __repr__(self) -> str:
        return f"RegistryLogin(user={self.user!r})"
