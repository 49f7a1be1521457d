"""How a command reaches the platform, one rental and its ssh; what comes back is believed by its shape alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from . import config, showing
from .client import ApiError, Client, Json
from .showing import aside

REFUSED, NOT_REACHABLE = 1, 3
WHOLE_ID = 36
SHORTEST_ID = 8
_ID = re.compile(rf"[0-9a-f-]{{{SHORTEST_ID},{WHOLE_ID}}}", re.ASCII)
# Neither may begin like an option, for ssh runs what some of its options say.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9:.-]*", re.ASCII)
# How reading an answer of another shape fails.
_MISSHAPEN = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)


def _id_or_beginning(given: str) -> str:
    """Return the word that names a rental; an empty variable of a script names none."""
    if _ID.fullmatch(given.lower()) is None:
        raise typer.BadParameter(
            f"{given!r} names no rental: type its id, or the first {SHORTEST_ID} signs of it or more."
        )
    return given.lower()


RentalId = Annotated[
    str,
    typer.Argument(
        help=f"A rental's id, or its first {SHORTEST_ID} signs or more.",
        metavar="RENTAL",
        callback=_id_or_beginning,
    ),
]


@contextmanager
def connected(context: typer.Context) -> Iterator[Client]:
    """Give a client, and turn a refusal, or an answer of another shape, into a sentence and an exit status.

    What is read from answers is read inside of it.
    """
    login = config.load()
    if not login.server:
        aside.print("No platform is known yet. Type: dcompute login --server https://…")
        raise typer.Exit(REFUSED)
    try:
        with _shaped(login.server), Client(login.server, login.key, watch=context.obj) as client:
            yield client
    except ApiError as refused:
        aside.print(showing.plain(str(refused)), showing.plain(f"[{refused.code}]"))
        if refused.status == 401:
            aside.print("Make an API key on the platform's page, then type: dcompute login")
        raise typer.Exit(NOT_REACHABLE if refused.status == 0 else REFUSED) from refused


@contextmanager
def _shaped(server: str) -> Iterator[None]:
    try:
        yield
    except _MISSHAPEN as error:
        words = f"{server} answered, but not as this platform does: {type(error).__name__} {error}"
        raise ApiError("not_an_answer", words, 200) from error


def as_curl(method: str, address: str, body: Any) -> None:
    """Print a request as a line of curl."""
    words = ["curl", "-X", method, "-H", "X-API-Key: $DCOMPUTE_KEY", address]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    # The variable stands for the key and must stay one.
    line = shlex.join(words).replace("'X-API-Key: $DCOMPUTE_KEY'", '"X-API-Key: $DCOMPUTE_KEY"')
    aside.print(line, markup=False, soft_wrap=True)


def named(client: Client, start: str) -> str:
    """Return the whole id of the one rental whose id begins like this; a whole one stays as it is."""
    if len(start) == WHOLE_ID:
        return start
    found = [row["id"] for row in client.rentals() if row["id"].startswith(start)]
    if len(found) != 1:
        many = f"{len(found)} rentals begin" if found else "None of your rentals begins"
        raise ApiError("rental_unknown", f"{many} with {start}. Type: dcompute list", 404)
    return str(found[0])


def ssh_words(address: Json, command: Sequence[str]) -> list[str]:
    """Return what ssh is started with. Raises ApiError `address_invalid` for what is none of ssh's addresses."""
    user, host, port = str(address["user"]), str(address["host"]), int(address["port"])
    if _USER.fullmatch(user) is None or _HOST.fullmatch(host) is None:
        words = (
            f"The platform names {user}@{host} for ssh, which is no address. Nothing was started."
        )
        raise ApiError("address_invalid", words, 200)
    return ["ssh", "-p", str(port), "--", f"{user}@{host}", *command]
