"""What the wire does with good and bad frames."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostagent.protocol import (
    MAX_FRAME_BYTES,
    Challenge,
    Observed,
    ProtocolError,
    Reject,
    WorkloadReport,
    WorkloadState,
    decode_from_agent,
    decode_from_platform,
    encode,
    session_statement,
)
from hostagent.protocol.messages import json_schema

NODE = "00000000-0000-4000-8000-000000000000"


def test_a_message_survives_the_wire() -> None:
    seen = WorkloadReport(workload_id=NODE, generation=1, state=WorkloadState.RUNNING)
    message = Observed(epoch=3, workloads=[seen])
    assert decode_from_agent(encode(message)) == message
    challenge = Challenge(nonce="00", deployment="d", server_time=1.5)
    assert decode_from_platform(encode(challenge)) == challenge


def test_unknown_fields_are_ignored() -> None:
    frame = json.dumps({"type": "reject", "code": "x", "message": "y", "newer": 1})
    assert decode_from_agent(frame) == Reject(code="x", message="y")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "frame_unreadable"),
        ("[]", "frame_unreadable"),
        ("{}", "type_unknown"),
        ('{"type": "launch_missiles"}', "type_unknown"),
        ('{"type": "heartbeat"}', "message_invalid"),
        ('{"type": "observed", "epoch": -1, "workloads": []}', "message_invalid"),
        ("x" * (MAX_FRAME_BYTES + 1), "frame_too_large"),
    ],
)
def test_a_frame_that_is_no_message_has_a_named_reason(frame: str, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_from_agent(frame)
    assert refused.value.code == code


@given(st.binary(max_size=400))
def test_random_bytes_never_do_more_than_be_refused(frame: bytes) -> None:
    for decode in (decode_from_agent, decode_from_platform):
        try:
            decode(frame)
        except ProtocolError:
            continue


def test_a_signature_cannot_be_moved_to_another_deployment_node_key_or_nonce() -> None:
    base = {"deployment": "d", "node_id": "n", "key_id": "k", "nonce": "1"}
    statements = {session_statement(**base)}
    for field in base:
        statements.add(session_statement(**{**base, field: "other"}))
    assert len(statements) == 5


def test_the_schema_names_every_message() -> None:
    names = json_schema()["$defs"]
    assert {"Hello", "Heartbeat", "Welcome", "StartInstance", "StopInstance"} <= names.keys()
