"""`hostagent join` against the real platform over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from hostagent.identity import Identity
from hostagent.tests.border import Border
from hostagent.tests.typing_in import GOOD_ENGINE, machine, type_in, words_of
from nodes import services as nodes
from nodes.models import Node, Offer
from tests import cast


@pytest.fixture
def dockerd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    with machine(monkeypatch) as border:
        yield border


@pytest.mark.django_db(transaction=True)
def test_a_machine_joins_a_real_platform_and_repeating_it_changes_nothing(
    dockerd: Border, live_server: LiveServer, tmp_path: Path
) -> None:
    _, key = nodes.create_node_key(actor=cast.person("bob"), name="rack 1")
    command = ["join", "--server", live_server.url, "--key", key, "--state-dir", str(tmp_path)]
    first = type_in(*command, "--json")
    assert first.exit_code == 0, first.output
    node = Node.objects.get()
    answer = json.loads(first.output)
    assert answer["node_id"] == str(node.pk)
    assert (node.name, node.facts["docker_version"]) == ("rack 1", "27.1")
    assert Offer.objects.get().node_id == node.pk
    membership = Identity(tmp_path).membership()
    assert membership is not None
    assert (membership.node_id, membership.node_key) == (str(node.pk), key)
    again = type_in(*command)
    assert words_of(again) == f"Node registered: {node.pk}. Start it with `hostagent run`."
    assert Node.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_machine_that_fails_a_check_hears_which_and_keeps_no_membership(
    dockerd: Border, live_server: LiveServer, tmp_path: Path
) -> None:
    dockerd.answers["GET /info"] = (200, {**GOOD_ENGINE, "SecurityOptions": []})
    _, key = nodes.create_node_key(actor=cast.person("bob"), name="rack 1")
    result = type_in(
        "join", "--server", live_server.url, "--key", key, "--state-dir", str(tmp_path)
    )
    assert result.exit_code == 1
    assert words_of(result) == (
        "This machine cannot be listed yet: seccomp: none, needs seccomp. Use a kernel with seccomp "
        "and an engine built with it. (self_test_failed)"
    )
    assert Identity(tmp_path).membership() is None
    assert not Node.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_wrong_key_is_told_with_its_code(
    dockerd: Border, live_server: LiveServer, tmp_path: Path
) -> None:
    result = type_in(
        "join", "--server", live_server.url, "--key", "dcn_a_b", "--state-dir", str(tmp_path)
    )
    assert result.exit_code == 1
    assert "(node_key_wrong)" in words_of(result)
