"""Bytes <-> messages. A frame is one JSON object of at most MAX_FRAME_BYTES."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from hostagent.protocol.messages import (
    AgentMessage,
    JoinRequest,
    Message,
    PlatformMessage,
    WorkloadReport,
)

MAX_FRAME_BYTES = 256 * 1024
# What reports may take of a frame that tells of the machine as well, and how many of them one can hold.
MAX_REPORTS_BYTES, MAX_REPORTS = 96 * 1024, 500
# What a frame can make the decoder raise: nonsense, text that is no UTF-8, a thousand nested brackets.
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

_encoder = msgspec.json.Encoder()
_from_agent: msgspec.json.Decoder[AgentMessage] = msgspec.json.Decoder(AgentMessage)
_from_platform: msgspec.json.Decoder[PlatformMessage] = msgspec.json.Decoder(PlatformMessage)


class ProtocolError(Exception):
    """A frame that is no message of ours; `code` goes into the `reject` that answers it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _nul_in(frame: bytes | str) -> bool:
    return "\\u0000" in frame if isinstance(frame, str) else b"\\u0000" in frame


def has_nul(value: Any) -> bool:
    """Whether a NUL hides in a text, or a name, anywhere in a decoded value."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(has_nul(part) for part in value)


class _Tagged(msgspec.Struct):
    type: str | None = None
    event: str | None = None


_tag = msgspec.json.Decoder(_Tagged)
_agent_tags = frozenset({"hello", "heartbeat", "ack", "observed", "reject"})
_platform_tags = frozenset(
    {"challenge", "welcome", "desired", "start_instance", "stop_instance", "drain_node", "reject"}
)


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    return _encoder.encode(message)


def fitting(reports: Iterable[WorkloadReport]) -> list[WorkloadReport]:
    """Return the first of these reports that fit into one frame together, and the very first in any case."""
    told: list[WorkloadReport] = []
    size = 0
    for report in reports:
        size += len(_encoder.encode(report))
        if told and (size > MAX_REPORTS_BYTES or len(told) == MAX_REPORTS):
            break
        told.append(report)
    return told


def decode_from_agent(frame: bytes | str) -> AgentMessage:
    """Return the message of a frame that an agent sent; raises ProtocolError."""
    try:
        message = _from_agent.decode(frame)
    except UNREADABLE as error:
        raise _explain(frame, error, _agent_tags) from error
    # PostgreSQL holds no NUL; the search is cheap and nearly always the end of it.
    if _nul_in(frame) and has_nul(msgspec.to_builtins(message)):
        raise ProtocolError("message_invalid", "No text of a message may contain a NUL.")
    return message


def decode_from_platform(frame: bytes | str) -> PlatformMessage:
    """Return the message of a frame that the platform sent; raises ProtocolError."""
    try:
        return _from_platform.decode(frame)
    except UNREADABLE as error:
        raise _explain(frame, error, _platform_tags) from error


def read_join(told: object) -> JoinRequest:
    """Return the join request of a decoded JSON body; raises ProtocolError `join_invalid`."""
    try:
        # By way of bytes, because Python's own reader lets halves of characters pass.
        request = msgspec.json.decode(msgspec.json.encode(told), type=JoinRequest)
    except (*UNREADABLE, msgspec.ValidationError) as error:
        raise ProtocolError("join_invalid", f"The profile is not readable: {error}") from error
    if has_nul(told):
        raise ProtocolError("join_invalid", "The profile is not readable: a text contains a NUL.")
    return request


def _explain(frame: bytes | str, error: Exception, known: frozenset[str]) -> ProtocolError:
    if len(frame) > MAX_FRAME_BYTES:
        return ProtocolError("frame_too_large", f"A frame has at most {MAX_FRAME_BYTES} bytes.")
    try:
        kind = _tag.decode(frame).type
    except UNREADABLE:
        return ProtocolError("frame_unreadable", "A frame is one JSON object with a `type`.")
    if kind not in known:
        return ProtocolError("type_unknown", f"There is no message type {str(kind)[:40]!r} here.")
    return ProtocolError("message_invalid", f"{kind}: {error}")
