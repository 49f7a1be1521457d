"""What agents tell of their images: kept for each machine, bounded, and forgotten when it is not known any more."""

from __future__ import annotations

import pytest

from hostagent.protocol import ImageCache, Observed, PullRecord
from nodes import gateway
from nodes import services as nodes
from nodes.models import ImageStore, Node
from nodes.services.images import Fetching
from rentals.registry.shapes import chains_of
from tests import cast

pytestmark = pytest.mark.django_db
DIFFS = [f"sha256:{digit * 64}" for digit in "123"]
CHAINS = list(chains_of(DIFFS))
# As agents tell them: hostagent/tests/test_images.py knows the same values.
TOLD = ["1" * 32, "9932074217c35353d2e03a3f5a86549f", "50127c0d6b338be78246434b4bce23ec"]
PULLS = [
    PullRecord(bytes=30_000_000, seconds=2.0, unpack_seconds=1.0),
    PullRecord(bytes=10_000_000, seconds=2.0, unpack_seconds=0.0),
]


def test_layers_that_a_machine_holds_need_no_download_and_the_others_do() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    agent.cache = ImageCache(chains=TOLD[:2], pulls=PULLS)
    agent.connect()
    node = Node.objects.get()
    told = nodes.fetching(node_id=node.pk, chains=CHAINS)
    assert told == Fetching([False, False, True], 10_000_000.0, 1 / 40_000_000, 2)


def test_the_same_layer_on_another_one_is_another_chain() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    agent.cache = ImageCache(chains=TOLD)
    agent.connect()
    node = Node.objects.get()
    turned = list(chains_of(DIFFS[::-1]))
    told = nodes.fetching(node_id=node.pk, chains=turned)
    assert told == Fetching([True, True, True], None, None, 0)


def test_a_machine_whose_agent_does_not_tell_is_unknown() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    node = Node.objects.get()
    assert nodes.fetching(node_id=node.pk, chains=CHAINS) == Fetching(None, None, None, 0)
    agent.cache = ImageCache()
    agent.connect()
    assert nodes.fetching(node_id=node.pk, chains=CHAINS).missing == [True] * 3
    agent.cache = None
    agent.connect()
    assert not ImageStore.objects.exists()


def test_news_of_the_cache_count_for_the_session_that_tells_them_only() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    old = agent.dial()
    gateway.handle(old, agent.hello(old))
    new = agent.connect()
    node = Node.objects.get()
    told = ImageCache(chains=TOLD)
    with pytest.raises(gateway.Fenced):
        gateway.handle(old, Observed(epoch=old.epoch, workloads=[], cache=told))
    gateway.handle(new, Observed(epoch=old.epoch, workloads=[], cache=told))
    assert not ImageStore.objects.exists()
    gateway.handle(new, Observed(epoch=new.epoch, workloads=[], cache=told))
    assert nodes.fetching(node_id=node.pk, chains=CHAINS).missing == [False] * 3
    # A report without one changes nothing.
    gateway.handle(new, Observed(epoch=new.epoch, workloads=[]))
    assert ImageStore.objects.get().chains == TOLD
