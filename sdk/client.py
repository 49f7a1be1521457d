"""The public API as a Python object: one method a thing that renters do, and `call` for everything else."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import httpx

Json = dict[str, Any]

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
POLL_SECONDS = 1.0
# A repeated request of these kinds changes nothing more than the first one did.
REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
BUSY = frozenset({429, 502, 503, 504})
# Where a rental stands still until somebody does something.
RESTING = frozenset({"running", "stopped", "ended"})


class ApiError(Exception):
    """A refusal: `code` is stable, the words are for people, `status` is 0 when nobody answered."""

    def __init__(self, code: str, words: str, status: int = 0, data: Any = None) -> None:
        super().__init__(words)
        self.code = code
        self.status = status
        self.data = data


class Client:
    """A platform and somebody's API key.

    Args:
        server: its address, as https://market.example.org. Only without a key, or on this very machine, may it
            be http://: whoever stands between would read the key.
        key: an API key (`dck_…`); searching needs none.
        timeout: seconds to wait for one answer.
        watch: called with each request before it is sent (method, address, body), to show or count them.
        transport: another way to the server, for tests.

    Raises ApiError `address_invalid`, `address_insecure`, `key_invalid`; nothing is sent then.
    """

    def __init__(
        self,
        server: str,
        key: str = "",
        *,
        timeout: float = 30,
        watch: Callable[[str, str, Any], None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._watch = watch
        self._http = httpx.Client(
            base_url=f"{_address(server, key).rstrip('/')}/api/v1/",
            headers={"X-API-Key": _sendable(key)} if key else {},
            timeout=timeout,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        repeat_key: str = "",
    ) -> Any:
        """Return the `data` of an answer.

        What can be repeated safely is tried ATTEMPTS times while nobody answers or the platform is busy: reading,
        and what `repeat_key` names (a POST of which the platform remembers the answer).

        Args:
            path: what follows /api/v1/, such as `rentals/`.

        Raises: ApiError; `not_reachable` when nobody answered, `not_an_answer` when somebody else did,
        `address_invalid` when nobody can be asked for such a path.
        """
        headers = {"Idempotency-Key": repeat_key} if repeat_key else {}
        try:
            request = self._http.build_request(
                method, path, json=body, params=params, headers=headers
            )
        except httpx.InvalidURL as error:
            raise ApiError("address_invalid", f"{path} is no path: {error}", 400) from None
        if self._watch is not None:
            self._watch(method, str(request.url), body)
        attempts = ATTEMPTS if method in REPEATABLE or repeat_key else 1
        for left in reversed(range(attempts)):
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempts - 1 - left)
            try:
                answer = self._http.send(request)
            except httpx.TransportError as error:
                if not left:
                    words = f"{request.url.host} does not answer: {type(error).__name__} {error}"
                    raise ApiError("not_reachable", words) from error
            else:
                if answer.status_code not in BUSY or not left:
                    return _data(answer)
                pause = max(pause, _asked_to_wait(answer))
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    def search(self, **asked: Any) -> Json:
        """Return what can start now: `rows`, `total`, `next`, `facets`, `without`.

        docs/offer-fields.md lists the filters.
        """
        found: Json = self.call("GET", "offers/", params=asked)
        return found

    def offers(self, **asked: Any) -> Iterator[Json]:
        """Yield every offer that fits, page by page."""
        after: str | None = ""
        while after is not None:
            page = self.search(**asked, **({"after": after} if after else {}))
            yield from page["rows"]
            after = page["next"]

    def template_id(self, name: str = "") -> str:
        """Return the id of the template with this slug or id; one's own comes before those of others.

        Without a name it is the first official one.
        """
        if not name:
            official = self.call("GET", "templates/", params={"of": "official"})["rows"]
            if not official:
                raise ApiError(
                    "template_unknown", "Name a template; there is no official one.", 404
                )
            return str(official[0]["id"])
        found = self.call("GET", "templates/", params={"search": name})["rows"]
        named = [each for each in found if name in {each["slug"], each["id"]}]
        if named:
            mine_first = min(named, key=lambda each: (each["visibility"] != "private", each["id"]))
            return str(mine_first["id"])
        try:
            return str(uuid.UUID(name))
        except ValueError:
            raise ApiError("template_unknown", f"There is no template {name}.", 404) from None

    def quote(self, offer_id: str, template_id: str, **size: Any) -> Json:
        """Return an exact price that is honoured for two minutes.

        `gpu_count`, `disk_gb` and `template_version` may be given.
        """
        body = {"offer_id": offer_id, "template_id": template_id, **size}
        made: Json = self.call("POST", "quotes/", body)
        return made

    def preflight(self, offer_id: str, template_id: str, **size: Any) -> Json:
        """Return what can be known before money moves, and how long the start will take."""
        seen: Json = self.call(
            "POST", f"offers/{offer_id}/preflight/", {"template_id": template_id, **size}
        )
        return seen

    def rent(self, quote_id: str, *, repeat_key: str = "", **more: Any) -> Json:
        """Rent what a quote names; `more` as in `POST /rentals/`. With the same `repeat_key` it happens once."""
        body = {"quote_id": quote_id, **more}
        rented: Json = self.call(
            "POST", "rentals/", body, repeat_key=repeat_key or str(uuid.uuid4())
        )
        return rented

    def rentals(self) -> Iterator[Json]:
        """Yield every rental, the newest first, page by page."""
        before: str | None = ""
        while before is not None:
            page = self.call("GET", "rentals/", params={"before": before} if before else None)
            yield from page["rows"]
            before = page["next"]

    def rental(self, rental_id: str) -> Json:
        """Return one rental with its state, its actions that are valid now, and its address."""
        found: Json = self.call("GET", f"rentals/{rental_id}/")
        return found

    def act(self, rental_id: str, action: str, **body: Any) -> Json:
        """Make a rental `start`, `stop`, `restart`, `end`; `recreate` needs `confirm_data_loss=True`."""
        after: Json = self.call("POST", f"rentals/{rental_id}/{action}/", body or None)
        return after

    def wait(
        self,
        rental_id: str,
        *,
        seconds: float = 1800,
        tell: Callable[[Json], None] = lambda rental: None,
    ) -> Json:
        """Return the rental once it is running, stopped or ended; `tell` sees it at each look.

        Raises ApiError `still_moving` after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            rental = self.rental(rental_id)
            tell(rental)
            if rental["state"] in RESTING:
                return rental
            if time.monotonic() >= deadline:
                raise ApiError("still_moving", f"It is {rental['state']} after {seconds:.0f} s.")
            time.sleep(POLL_SECONDS)

    def wallets(self) -> list[Json]:
        """Return what you have in each currency: total = available + locked."""
        rows: list[Json] = self.call("GET", "wallets/")
        return rows


def _address(server: str, key: str) -> str:
    """Return the address of a platform. Raises ApiError `address_invalid`, `address_insecure`."""
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        words = f"{server} is no address of a platform. Write it as https://market.example.org"
        raise ApiError("address_invalid", words, 400)
    if key and url.scheme == "http" and not _is_this_machine(url.host):
        words = (
            f"Your API key was not sent: everybody on the way to {url.host} could read it. Write the address with "
            "https://"
        )
        raise ApiError("address_insecure", words, 400)
    return server


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sendable(key: str) -> str:
    """Return a key that fits into a header, so that no failure of sending it has to show it."""
    if key.isascii() and key.isprintable() and " " not in key:
        return key
    words = (
        "This is no API key: it holds a space, a line break or another sign that keys never have."
    )
    raise ApiError("key_invalid", words, 400)


def _data(answer: httpx.Response) -> Any:
    """Return what the envelope holds, or raise what it refuses."""
    try:
        whole: Json = {"data": None} if answer.status_code == 204 else answer.json()
        if answer.is_success:
            return whole["data"]
        raise ApiError(whole["code"], whole["error"], answer.status_code, whole["data"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        words = f"{answer.url.host} answered {answer.status_code}, but not as this platform does."
        raise ApiError("not_an_answer", words, answer.status_code) from error


def _asked_to_wait(answer: httpx.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0
