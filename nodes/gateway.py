"""What an agent's message means: sync, no sockets. `AgentLink` is the memory of one connection."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction

from core import clock
from core.errors import DomainError, Unauthenticated
from hostagent.protocol import (
    Ack,
    AgentMessage,
    Challenge,
    DrainNode,
    Heartbeat,
    Hello,
    Observed,
    PlatformMessage,
    Reject,
)
from nodes import queries, services
from nodes.models import Node, NodeKey

# Close codes of the agent socket; 4xxx are ours.
CLOSE_UNAUTHENTICATED = 4401
CLOSE_FENCED = 4409
CLOSE_TOO_LARGE = 1009
CLOSE_TOO_MANY = 4429
# Frames a second that an agent may send for ever, and how many at once: far more than 500 workloads need.
FRAMES_PER_SECOND, FRAMES_AT_ONCE = 30.0, 1000


@dataclass
class Allowance:
    """How many frames a link may send now: a bucket that fills up again."""

    left: float = FRAMES_AT_ONCE
    since: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Take one frame off; False when there is none left."""
        self._fill()
        if self.left < 1:
            return False
        self.left -= 1
        return True

    @property
    def is_full(self) -> bool:
        """Whether it is as good as a new one."""
        self._fill()
        return self.left >= FRAMES_AT_ONCE

    def _fill(self) -> None:
        now = time.monotonic()
        more = (now - self.since) * FRAMES_PER_SECOND
        self.left, self.since = min(FRAMES_AT_ONCE, self.left + more), now


@dataclass
class AgentLink:
    """One agent connection: who it is, its epoch, and how far the desired set has been told."""

    key: NodeKey
    gateway: str
    nonce: str = field(default_factory=lambda: secrets.token_hex(32))
    opened: float = field(default_factory=time.monotonic)
    node_id: str = ""
    epoch: int = 0
    told_generation: int = -1
    told_draining: bool = False

    def challenge(self) -> Challenge:
        """Return the first frame of the connection."""
        return Challenge(
            nonce=self.nonce,
            deployment=settings.DC.deployment,
            server_time=clock.now().timestamp(),
        )


class Fenced(Exception):
    """A newer session of this node has taken over: close with 4409 and do not come back."""


def authenticate(authorization: str, gateway: str) -> AgentLink:
    """Return the link of a connection whose header is `Bearer <node key>`; raises Unauthenticated."""
    scheme, _, plain = authorization.partition(" ")
    if scheme.lower() != "bearer" or not plain:
        raise Unauthenticated("node_key_missing", "Send `Authorization: Bearer <node key>`.")
    key = services.authenticate_node_key(plain.strip())
    if key.node_id is None:
        raise Unauthenticated("node_not_joined", "Run `hostagent join` first.")
    return AgentLink(key=key, gateway=gateway)


def handle(link: AgentLink, message: AgentMessage) -> list[PlatformMessage]:
    """Act on one message (never a heartbeat, which stays in memory); return the answers.

    Raises Fenced, or DomainError when the connection must end (a failed hello).
    """
    if isinstance(message, Hello):
        return _hello(link, message)
    if not link.epoch:
        raise Unauthenticated("hello_expected", "Answer the challenge with `hello` first.")
    if isinstance(message, Observed):
        _observed(link, message)
        return []
    if isinstance(message, Ack):
        services.record_ack(
            node_id=link.node_id, epoch=message.epoch, generation=message.generation
        )
    return []


def _observed(link: AgentLink, message: Observed) -> None:
    if message.epoch != link.epoch:
        return  # written for an older session: void, and the welcome has asked for everything again
    with transaction.atomic():
        current = services.record_observed(
            node_id=link.node_id,
            epoch=link.epoch,
            reports=message.workloads,
            cache=message.cache,
        )
    if not current:
        raise Fenced


def _hello(link: AgentLink, hello: Hello) -> list[PlatformMessage]:
    nonce, link.nonce = link.nonce, ""
    if not nonce or time.monotonic() - link.opened > settings.DC.nonce_seconds:
        raise Unauthenticated("challenge_expired", "The challenge was used or is too old.")
    welcome = services.open_session(key=link.key, nonce=nonce, hello=hello, gateway=link.gateway)
    link.node_id = hello.node_id
    link.epoch = welcome.epoch
    link.told_generation = welcome.desired.generation
    link.told_draining = welcome.desired.draining
    return [welcome]


def is_current(link: AgentLink, beat: Heartbeat) -> bool:
    """Whether this heartbeat is of this very session; one of an older epoch is void. No I/O."""
    return beat.epoch == link.epoch and beat.node_id == link.node_id


def is_behind(link: AgentLink, beat: Heartbeat) -> bool:
    """Whether this heartbeat shows that the agent has not what it was told. No I/O."""
    return beat.generation != link.told_generation


def tell_news(link: AgentLink) -> list[PlatformMessage]:
    """Return commands for what changed since the agent was last told. Raises Fenced."""
    node = _current(link)
    commands: list[PlatformMessage] = list(queries.commands_since(node, link.told_generation))
    if node.draining != link.told_draining:
        commands.append(
            DrainNode(
                id=f"{node.pk}:drain:{node.generation}",
                epoch=node.epoch,
                generation=node.generation,
                draining=node.draining,
            )
        )
    link.told_generation = node.generation
    link.told_draining = node.draining
    return commands


def tell_all(link: AgentLink) -> list[PlatformMessage]:
    """Return the whole desired set. Raises Fenced."""
    node = _current(link)
    link.told_generation = node.generation
    link.told_draining = node.draining
    return [queries.desired_set(node)]


def _current(link: AgentLink) -> Node:
    node = Node.objects.get(pk=link.node_id)
    if node.epoch != link.epoch:
        raise Fenced
    return node


def refusal(error: DomainError) -> Reject:
    """Return the frame of a refusal."""
    return Reject(code=error.code, message=error.message)
