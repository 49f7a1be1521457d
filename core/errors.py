"""Every refusal the product can give, as data: a stable code, an HTTP status and a sentence.

DomainError
├── Invalid            400  the request itself is wrong
├── Unauthenticated    401  we do not know who you are
├── FundsInsufficient  402  the wallet is short; `data["missing"]` says by how much
├── Forbidden          403  we know who you are and you may not
├── NotFound           404  no such thing, or it is somebody else's
├── Conflict           409  the world has moved on
├── TooLarge           413  more bytes than the limit
├── RateLimited        429  too many requests; `data["retry_after"]` in seconds
└── Unavailable        503  something that we need is away for a moment; nothing was done

Doors map these in exactly one place each: core.api (JSON), core.web (pages), nodes.gateway (sockets).
"""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """A refusal with a stable `code`; `message` says what, why and what to do now."""

    status = 400

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Invalid(DomainError):
    status = 400


def unstorable() -> Invalid:
    """Return the refusal of values that the database itself cannot hold, such as a NUL in a text."""
    return Invalid(
        "value_unstorable",
        "One of the values holds a character or a size that cannot be stored. Nothing was changed.",
    )


class Unauthenticated(DomainError):
    status = 401


class FundsInsufficient(DomainError):
    status = 402


class Forbidden(DomainError):
    status = 403


class NotFound(DomainError):
    status = 404


class Conflict(DomainError):
    status = 409


class TooLarge(DomainError):
    status = 413


class RateLimited(DomainError):
    status = 429


class Unavailable(DomainError):
    status = 503


def away() -> Unavailable:
    """Return the refusal while PostgreSQL or Redis does not answer: nothing was done, try again."""
    return Unavailable(
        "platform_unavailable",
        "The platform cannot answer for a moment. Nothing was changed; try again.",
    )
