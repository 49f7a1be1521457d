"""HTTP to strangers' addresses: only public ones, only the one that was checked, never long, never much."""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpcore

from rentals.registry.resolving import Address, resolve
from rentals.registry.troubles import away, odd, refused

PATIENCE_SECONDS = 3.0
MAX_TRIED_ADDRESSES = 3
# Public as an address, and yet a cloud's own metadata service.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
# What IPv6 gives out to the world. The rest is the inside, or hides an IPv4 address (as do those below).
_WORLD = ipaddress.ip_network("2000::/3")
_NOT_WORLD = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)

# Top names of networks' own; `home.arpa` is the only one below arpa that an engine could be sent to.
_INSIDE_NAMES = frozenset(
    [
        "arpa",
        "corp",
        "home",
        "internal",
        "intranet",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "private",
    ]
)

Origin = tuple[str, str, int]


@dataclass
class Budget:
    """What one errand may use: until when (monotonic seconds), how many bytes may still come, and for whom."""

    deadline: float
    bytes_left: int
    asker: str = ""

    def seconds(self) -> float:
        """Return the time of the next step; raises RegistryTrouble when none is left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise away("it took too long")
        return min(left, PATIENCE_SECONDS)

    def take(self, size: int) -> None:
        """Count bytes that came; raises RegistryTrouble when they are too many."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise odd("it sent more than such an answer needs")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def origin_of(url: str) -> Origin:
    """Return (scheme, host, port) of a URL; raises RegistryTrouble for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError as error:
        raise odd("it names an address that is none") from error
    if not parts.hostname or not port or "@" in parts.netloc or not url.isascii():
        raise odd("it names an address that is none")
    return parts.scheme, parts.hostname, port


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet and to nobody's inside."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _WORLD or any(address in network for network in _NOT_WORLD):
            return False
    return address.is_global and not address.is_multicast and address not in _METADATA


def is_inside(host: str) -> bool:
    """Whether a host's name, as a URL or an image spells it, can only mean something inside. Asks nobody.

    Inside: addresses that are not public, names without a dot or of a network's own, and numbers that some
    programs take for an address (127.1, 0x7f.1, 2130706433).
    """
    name = host.strip("[]").lower().rstrip(".")
    try:
        return not is_public(ipaddress.ip_address(name))
    except ValueError:
        # A name: its last part tells.
        last = name.rpartition(".")[2]
    return "." not in name or last in _INSIDE_NAMES or not last[:1].isalpha()


@dataclass
class Caller:
    """Fetches URLs within one budget. `trusted` origins may be anywhere, and may speak plain HTTP."""

    trusted: frozenset[Origin]
    budget: Budget
    _pool: httpcore.ConnectionPool = field(init=False)

    def __post_init__(self) -> None:
        places = frozenset((host, port) for _, host, port in self.trusted)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), network_backend=_Checked(places, self.budget)
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def get(self, url: str, headers: Mapping[str, str], *, limit: int) -> Answer:
        """Return the answer to one GET, at most `limit` bytes; no redirect is followed.

        Raises RegistryTrouble `registry_away`, `registry_answer_odd`, `registry_address_refused`.
        """
        origin = origin_of(url)
        if origin[0] != "https" and origin not in self.trusted:
            raise refused("only https is spoken with it")
        lines = [*headers.items(), ("Accept-Encoding", "identity"), ("User-Agent", "dcompute")]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self.budget.seconds())
        try:
            with self._pool.stream(
                "GET", url, headers=lines, extensions={"timeout": timeout}
            ) as response:
                told = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                return Answer(response.status, told, _read(response, limit))
        except (httpcore.TimeoutException, httpcore.NetworkError) as error:
            raise away("no connection, or it broke off") from error
        except (httpcore.ProtocolError, ssl.SSLError, ValueError) as error:
            raise odd("it is not HTTP as we know it") from error


def _read(response: httpcore.Response, limit: int) -> bytes:
    body = bytearray()
    assert isinstance(response.stream, Iterable)
    for chunk in response.stream:
        body += chunk
        if len(body) > limit:
            raise odd("it sent more than such an answer needs")
    return bytes(body)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


class _Checked(httpcore.NetworkBackend):
    """Connects to the very address that was checked: a name that changes its mind gains nothing."""

    def __init__(self, places: frozenset[tuple[str, int]], budget: Budget) -> None:
        self._places = places
        self._budget = budget
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolve(host, port, self._budget.seconds(), self._budget.asker)
        if (host, port) not in self._places and not all(map(is_public, addresses)):
            raise refused("its address is not on the open internet")
        failed: Exception | None = None
        for address in addresses[:MAX_TRIED_ADDRESSES]:
            try:
                stream = self._real.connect_tcp(str(address), port, self._budget.seconds())
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failed = error
            else:
                return _Metered(stream, self._budget)
        raise failed or httpcore.ConnectError("no address")


class _Metered(httpcore.NetworkStream):
    """A connection that counts against the budget, headers and handshakes included."""

    def __init__(self, real: httpcore.NetworkStream, budget: Budget) -> None:
        self._real = real
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._real.read(max_bytes, self._budget.seconds())
        self._budget.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._real.write(buffer, self._budget.seconds())

    def close(self) -> None:
        self._real.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._real.start_tls(ssl_context, server_hostname, self._budget.seconds())
        return _Metered(secured, self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._real.get_extra_info(info)
