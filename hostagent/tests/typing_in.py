"""A machine for the agent's commands: an engine that is a fake, a kernel whose rules hold, a host who types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner, Result

from hostagent import cli, netpol
from hostagent.tests.border import Border, serving

GOOD_ENGINE = {
    "ServerVersion": "27.1",
    "Driver": "overlay2",
    "RuncCommit": {"ID": "1.3.3-0-gabc"},
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "NCPU": 4,
}


@contextmanager
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    """Put an engine and a kernel whose rules hold there: no test of these tiers touches the real ones."""
    monkeypatch.setattr(netpol, "load", lambda: None)
    monkeypatch.setattr(netpol, "prove", lambda: True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("COLUMNS", "200")
    with serving() as border:
        border.answers["GET /info"] = (200, GOOD_ENGINE)
        monkeypatch.setenv("DOCKER_HOST", border.engine_address)
        yield border


def type_in(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def words_of(result: Result) -> str:
    return " ".join(result.output.split())
