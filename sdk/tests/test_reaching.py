"""What a command does with an answer, or a word, that could do harm: nothing, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sdk import cli
from sdk.tests.platforms import Answer, Serve

KEY = "dck_0123456789_not-for-anybodys-log"
ID = "019aa000-0000-7000-8000-000000000001"
ADDRESS = {"user": "root", "host": "gate.example.org", "port": 20_001, "command": ""}


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("DCOMPUTE_KEY", KEY)
    monkeypatch.setenv("DCOMPUTE_SERVER", "http://127.0.0.1:1")


def typed(*words: str) -> Result:
    return CliRunner().invoke(cli.app, words)


def data(told: Any) -> Answer:
    return 200, {}, json.dumps({"success": True, "data": told, "code": "", "error": ""})


@pytest.mark.parametrize("command", ["end", "stop", "start", "restart", "show", "ssh", "logs"])
@pytest.mark.parametrize("word", ["", " ", ID[:1], ID[:7], "../wallets/", "ffff%00ffff"])
def test_a_word_that_could_name_any_rental_names_none(
    command: str, word: str, serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = serving([])
    monkeypatch.setenv("DCOMPUTE_SERVER", address)
    # dcompute end "$RENTAL" --yes, where RENTAL was never set.
    done = typed(command, word, *(["--yes"] if command == "end" else []))
    assert (done.exit_code, "names no rental" in done.stderr) == (2, True), done.output
    assert heard == []


def test_a_beginning_of_eight_signs_is_enough_when_no_other_rental_begins_so(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": ID, "state": "stopping", "end": None}
    two = {"rows": [row, {"id": ID[:-1] + "2"}], "next": None}
    one = {"rows": [row, {"id": "019aa001" + ID[8:]}], "next": None}
    address, heard = serving([data(two), data(one), data(row)])
    monkeypatch.setenv("DCOMPUTE_SERVER", address)
    unclear = typed("end", ID[:8], "--yes", "--no-wait")
    assert unclear.exit_code == 1
    assert f"2 rentals begin with {ID[:8]}" in unclear.stderr
    done = typed("end", ID[:8].upper(), "--yes", "--no-wait", "--json")
    assert done.exit_code == 0, done.output
    assert [path for _, path, _ in heard][2:] == [f"/api/v1/rentals/{ID}/end/"]


def ssh_started(tmp_path: Path, *words: str, server: str) -> tuple[int, list[str], str]:
    """Run `dcompute ssh` as a shell would, with an ssh of its own; return what that was started with."""
    told = tmp_path / "told"
    fake = tmp_path / "ssh"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "sdk", "ssh", *words],
        env={**os.environ, "DCOMPUTE_SERVER": server, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    heard = told.read_text().splitlines() if told.exists() else []
    return done.returncode, heard, done.stderr


def test_ssh_is_started_with_an_address_and_words_that_are_never_its_options(
    serving: Serve, tmp_path: Path
) -> None:
    row = {"id": ID, "state": "running", "sentence": "", "ssh": ADDRESS}
    address, _ = serving([data(row)])
    status, heard, _ = ssh_started(tmp_path, ID, "--", "ls", "-l", server=address)
    assert status == 0
    assert heard == ["-p", "20001", "--", "root@gate.example.org", "ls", "-l"]


@pytest.mark.parametrize(
    "evil",
    [
        {"user": "-oProxyCommand=touch pwned;"},
        {"host": "-oProxyCommand=x"},
        {"user": "root@elsewhere"},
        {"host": "gate.example.org -v"},
        {"user": ""},
        {"host": ""},
    ],
)
def test_no_answer_of_a_platform_becomes_an_option_of_ssh(
    evil: dict[str, str], serving: Serve, tmp_path: Path
) -> None:
    row = {"id": ID, "state": "running", "sentence": "", "ssh": ADDRESS | evil}
    address, _ = serving([data(row)])
    status, heard, words = ssh_started(tmp_path, ID, "somewhere", server=address)
    assert (status, heard) == (1, [])
    assert "[address_invalid]" in words


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("balance",), [{"currency": "USD"}]),
        (("balance",), {"USD": 1}),
        (("list",), []),
        (("list",), {"rows": [1], "next": None}),
        (("search",), {"rows": None}),
        (("show", ID), None),
        (("bill", ID), "free"),
        (("logs", ID), {"text": None}),
        (("ssh", ID), {"state": "running", "ssh": None}),
        (("ssh", ID), {"state": "running", "ssh": ADDRESS | {"port": "x"}}),
        (("login",), {"name": "alice"}),
    ],
)
def test_an_answer_of_another_shape_is_a_sentence_and_shows_no_key(
    words: tuple[str, ...],
    answer: Any,
    serving: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, _ = serving([data(answer)])
    monkeypatch.setenv("DCOMPUTE_SERVER", address)
    done = typed(*words)
    assert (done.exit_code, "[not_an_answer]" in done.stderr) == (1, True), done.output
    assert KEY not in done.output
    assert not (tmp_path / "dcompute").exists()


def test_the_address_of_the_help_text_is_no_address_and_is_told_so() -> None:
    done = typed("--server", "https://…", "balance")
    assert (done.exit_code, "[address_invalid]" in done.stderr) == (1, True), done.output
    assert KEY not in done.output


def test_a_crash_shows_no_locals_with_any_typer_that_it_may_be_installed_with() -> None:
    # Those before 0.21 print them unless they are told not to, and the key is among them.
    assert "pretty_exceptions_show_locals=False" in Path(cli.__file__).read_text()
    assert cli.app.pretty_exceptions_show_locals is False
