"""Bytes <-> messages. A frame is one JSON object of at most MAX_FRAME_BYTES."""

from __future__ import annotations

import msgspec

from hostagent.protocol.messages import AgentMessage, Message, PlatformMessage

MAX_FRAME_BYTES = 256 * 1024

_encoder = msgspec.json.Encoder()
_from_agent: msgspec.json.Decoder[AgentMessage] = msgspec.json.Decoder(AgentMessage)
_from_platform: msgspec.json.Decoder[PlatformMessage] = msgspec.json.Decoder(PlatformMessage)


class ProtocolError(Exception):
    """A frame that is no message of ours; `code` goes into the `reject` that answers it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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


def decode_from_agent(frame: bytes | str) -> AgentMessage:
    """Return the message of a frame that an agent sent; raises ProtocolError."""
    try:
        return _from_agent.decode(frame)
    except msgspec.DecodeError as error:
        raise _explain(frame, error, _agent_tags) from error


def decode_from_platform(frame: bytes | str) -> PlatformMessage:
    """Return the message of a frame that the platform sent; raises ProtocolError."""
    try:
        return _from_platform.decode(frame)
    except msgspec.DecodeError as error:
        raise _explain(frame, error, _platform_tags) from error


def _explain(frame: bytes | str, error: Exception, known: frozenset[str]) -> ProtocolError:
    if len(frame) > MAX_FRAME_BYTES:
        return ProtocolError("frame_too_large", f"A frame has at most {MAX_FRAME_BYTES} bytes.")
    try:
        kind = _tag.decode(frame).type
    except msgspec.DecodeError:
        return ProtocolError("frame_unreadable", "A frame is one JSON object with a `type`.")
    if kind not in known:
        return ProtocolError("type_unknown", f"There is no message type {kind!r} here.")
    return ProtocolError("message_invalid", f"{kind}: {error}")
