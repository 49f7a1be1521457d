"""A template's form: its lines say what the document says, and the document comes back from them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from core.errors import Invalid
from rentals.launch import read_document
from rentals.tests.test_launch import documents
from rentals.writing import as_file, as_lines, from_file, from_lines


@settings(max_examples=300, deadline=None)
@given(documents())
def test_lines_and_files_give_the_document_back(told: dict[str, Any]) -> None:
    document = read_document(told)
    # What a browser makes of the ends of lines.
    lines = {
        name: value.replace("\n", "\r\n") if isinstance(value, str) else value
        for name, value in as_lines(document).items()
    }
    if "\r" not in document.readme + document.launch.start_script:
        assert from_lines(lines) == document
    assert from_file(as_file(document)) == document


def lines(**changes: Any) -> dict[str, Any]:
    return {**as_lines(read_document({"name": "x", "launch": {"image": "debian:12"}})), **changes}


def test_people_may_write_as_they_are_used_to() -> None:
    launch = from_lines(
        lines(
            command="  python3 -c 'print(1)'  ",
            entrypoint="[ -f x ]",
            env='\n A=b=c "d"\r\nB="two\\nlines"\n\nC=\n',
            secrets="T = token\n",
            ports="8888 http  Jupyter  Lab\n9100\n",
        )
    ).launch
    assert launch.command == ["python3", "-c", "print(1)"]
    assert launch.entrypoint == ["[", "-f", "x", "]"]
    assert launch.env == {"A": 'b=c "d"', "B": "two\nlines", "C": ""}
    assert launch.secrets == {"T": "token"}
    assert [(p.port, p.kind, p.label) for p in launch.ports] == [
        (8888, "http", "Jupyter  Lab"),
        (9100, "tcp", ""),
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"command": "say 'open"}, "template_command"),
        ({"env": "NO EQUALS"}, "template_env_name"),
        ({"env": "A=1\nA=2"}, "template_env_twice"),
        ({"env": 'A="open'}, "template_env_value"),
        ({"ports": "http 80"}, "template_ports"),
        ({"ports": "80 udp"}, "template_unreadable"),
        ({"image": ""}, "template_image"),
    ],
)
def test_lines_that_make_no_sense_are_refused_by_name(changes: dict[str, str], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_lines(lines(**changes))
    assert refused.value.code == code


def test_a_file_that_is_none_is_refused() -> None:
    deep = ['{"launch":' * depth + "1" + "}" * depth for depth in (100, 500, 900, 200_000)]
    for text in ("", "{", "\ud800", "[]", "[" * 200_000, *deep):
        with pytest.raises(Invalid) as refused:
            from_file(text)
        assert refused.value.code == "template_unreadable"
