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
    fitting,
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


def test_of_many_reports_as_many_go_into_a_frame_as_fit() -> None:
    def reports(count: int, message: str) -> list[WorkloadReport]:
        seen = WorkloadReport(
            workload_id=NODE, generation=1, state=WorkloadState.STOPPED, message=message
        )
        return [seen] * count

    assert fitting([]) == []
    assert len(fitting(reports(300, ""))) == 300
    many = Observed(epoch=1, workloads=fitting(reports(2000, "")))
    assert decode_from_agent(encode(many)) == many
    long = fitting(reports(500, "\x01" * 4000))
    assert len(long) == 4
    assert len(encode(Observed(epoch=1, workloads=long))) < MAX_FRAME_BYTES
    alone = WorkloadReport(
        workload_id=NODE, generation=1, state=WorkloadState.STOPPED, logs="\x01" * 32_768
    )
    assert fitting([alone, alone]) == [alone]


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


def _observed(more: str) -> str:
    report = f'{{"workload_id": "{"0" * 36}", "generation": 1, "state": "running", {more}}}'
    return f'{{"type": "observed", "epoch": 1, "workloads": [{report}]}}'


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type": "heartbeat", "x": ' + "[" * 100_000, "frame_unreadable"),
        ('{"a":' * 50_000, "frame_unreadable"),
        (b'{"type": "\xff\xfe"}', "frame_unreadable"),
        ('{"type": "\ud800"}', "frame_unreadable"),
        (_observed(r'"message": "a\u0000b"'), "message_invalid"),
        (_observed(r'"tunnels": {"a\u0000": "b"}'), "message_invalid"),
        (_observed(f'"exit_code": {"9" * 300}'), "message_invalid"),
        (_observed('"started_at": 1e999'), "message_invalid"),
        (_observed('"started_at": NaN'), "frame_unreadable"),
    ],
)
def test_a_frame_made_to_break_the_reader_is_refused_like_any_other(
    frame: str | bytes, code: str
) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_from_agent(frame)
    assert refused.value.code == code


def test_text_that_only_looks_like_a_null_is_read() -> None:
    seen = decode_from_agent(_observed(r'"message": "a\\u0000b"'))
    assert isinstance(seen, Observed)
    assert seen.workloads[0].message == r"a\u0000b"


def test_no_figure_of_a_heartbeat_is_too_large_to_be_reckoned_with() -> None:
    beat = {
        "type": "heartbeat", "node_id": "0" * 36, "epoch": 1, "generation": 1, "status": "x",
        "metrics": {"gpu_mem_used_mib": [10**400]},
    }  # fmt: skip
    with pytest.raises(ProtocolError) as refused:
        decode_from_agent(json.dumps(beat))
    assert refused.value.code == "message_invalid"
