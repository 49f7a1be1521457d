"""A host or a thief who speaks our protocol well: what he still does not get."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
import time_machine

from accounts import services as accounts
from accounts.actors import Actor
from core.errors import Conflict, DomainError, Invalid, Unauthenticated
from core.ids import new_id
from hostagent.protocol import SelfTestResult
from nodes import gate, gateway, services
from nodes.machine import NODE, NodeStatus
from nodes.models import AgentSession, Allocation, Node, NodeKey, Offer
from nodes.services import capacity
from nodes.tests.test_border import leased
from rentals import services as rentals
from rentals.models import Quote, Rental
from tests import cast


@pytest.mark.django_db
def test_a_machine_that_fails_its_self_test_later_takes_no_new_work() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    link = agent.dial()
    hello = agent.hello(link)
    hello.checks = [
        SelfTestResult(check="firewall", passed=False, severity="refuse"),
        SelfTestResult(check="runc", passed=False, severity="degrade"),
    ]
    gateway.handle(link, hello)
    offer.refresh_from_db()
    assert (offer.listed, offer.hidden_because) == (False, "check_failed")
    with pytest.raises(Conflict) as refused:
        capacity.lock_rentable(agent_node(agent).pk)
    assert refused.value.code == "offer_taken"
    agent.connect()
    offer.refresh_from_db()
    assert (offer.listed, offer.hidden_because) == (True, "")


def agent_node(agent: cast.ProtocolAgent) -> Node:
    return Node.objects.get(pk=agent.node_id)


@pytest.mark.django_db
def test_a_machine_rented_whole_has_no_cards_to_give_when_it_finds_some() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    cast.rented(cast.person("alice", usd=50), offer)
    agent.facts = cast.facts(gpus=2)
    agent.connect()
    offer.refresh_from_db()
    assert (offer.listed, offer.hidden_because) == (False, "fully_rented")
    with pytest.raises(Conflict) as refused:
        capacity.lock_rentable(agent_node(agent).pk)
    assert refused.value.code == "offer_taken"


@pytest.mark.django_db
def test_a_price_without_cards_does_not_rent_a_machine_that_has_some_now() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"))
    alice = cast.person("alice", usd=50)
    agent.facts = cast.facts(gpus=2)
    with pytest.raises(Conflict) as refused:
        rented_after(alice, offer, agent.connect)
    assert refused.value.code == "offer_taken"
    assert not Allocation.objects.exists()


def rented_after(alice: Actor, offer: Offer, event: Callable[[], object]) -> None:
    accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    quote = rentals.quote_offer(
        actor=alice, offer_id=offer.pk, template_id=cast.template().pk, gpu_count=None
    )
    event()
    rentals.request_rental(
        actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key="between"
    )


def quoted(alice: Actor, offer: Offer, disk_gb: int) -> Quote:
    return rentals.quote_offer(
        actor=alice,
        offer_id=offer.pk,
        template_id=cast.template().pk,
        gpu_count=1,
        disk_gb=disk_gb,
    )


def taken(alice: Actor, quote: Quote) -> Rental:
    if not accounts.ssh_keys_of(actor=alice):
        accounts.add_ssh_key(actor=alice, name="laptop", public_key=cast.public_ssh_key())
    return rentals.request_rental(
        actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key=str(new_id())
    )


@pytest.mark.django_db
def test_two_rentals_are_not_promised_the_same_disk() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"), gpus=3)
    alice = cast.person("alice", usd=500)
    first, second = quoted(alice, offer, 60), quoted(alice, offer, 41)
    taken(alice, first)
    with pytest.raises(Conflict) as refused:
        taken(alice, second)
    assert refused.value.code == "disk_too_small"
    assert Allocation.objects.count() == 1
    with pytest.raises(Invalid):
        quoted(alice, offer, 41)
    taken(alice, quoted(alice, offer, 40))
    assert sum(Allocation.objects.values_list("disk_gb", flat=True)) == 100


@pytest.mark.django_db
def test_a_stopped_rental_that_filled_its_disk_gets_its_machine_back() -> None:
    cast.proxy_server()
    agent, offer = cast.machine(cast.person("bob"), gpus=1)
    alice = cast.person("alice", usd=500)
    rental = taken(alice, quoted(alice, offer, 60))
    node, workload = agent_node(agent), cast.workload_of(rental)
    services.release_allocation(node=node, workload=workload)
    agent.facts.disk_free_gb = 40
    agent.connect()
    again = services.allocate(node=agent_node(agent), workload=workload, gpu_count=1, disk_gb=60)
    assert again.disk_gb == 60


@pytest.mark.django_db
def test_a_copied_disk_is_found_out_even_when_the_first_socket_has_just_closed() -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        agent, _ = cast.machine(cast.person("bob"))
        link = agent.connect()
        services.close_session(node_id=agent.node_id, epoch=link.epoch)
        traveller.shift(20)
        agent.instance_id = "a copied disk"
        again = agent.dial()
        with pytest.raises(Conflict) as refused:
            gateway.handle(again, agent.hello(again))
        assert refused.value.code == "node_cloned"
        assert agent_node(agent).status == "maintenance"
        traveller.shift(61)
        services.sweep_liveness()
        agent.connect()
        assert agent_node(agent).status == "online"


@pytest.mark.django_db
def test_a_key_revoked_between_the_challenge_and_the_hello_opens_nothing() -> None:
    bob = cast.person("bob")
    agent, _ = cast.machine(bob)
    link = agent.dial()
    services.revoke_node_key(actor=bob, key_id=NodeKey.objects.get().pk)
    with pytest.raises(Unauthenticated) as refused:
        gateway.handle(link, agent.hello(link))
    assert refused.value.code == "node_key_wrong"
    assert agent_node(agent).epoch == 1
    assert AgentSession.objects.filter(closed_at=None).count() == 1


@pytest.mark.django_db
def test_a_lease_opens_under_its_one_name_only() -> None:
    _, call = leased()
    services.admit_proxy(content=call)
    node_id, _, rest = call["proxy_name"].partition(".")
    workload = rest[:36]
    for name in (
        f"{call['proxy_name']}\n",
        f"{node_id}.{workload}-g01-22",
        f"{node_id}.{workload}-g1-022",
        f"{node_id}.{workload.replace('-', '')}----{rest[36:]}",
    ):
        with pytest.raises(DomainError) as refused:
            services.admit_proxy(content={**call, "proxy_name": name})
        assert refused.value.code in {"tunnel_kind_refused", "tunnel_not_leased"}, name
    for change in ({"remote_port": True}, {"remote_port": float(call["remote_port"])}):
        with pytest.raises(DomainError):
            services.admit_proxy(content={**call, **change})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "body",
    [
        b'{"op": "Login", "content": {"metas": ' + b"[" * 60_000,
        b'{"op": "Login", "content": {"metas": {"node": "\\ud800", "secret": 5}}}',
        b'{"op": "NewProxy", "content": {}}',
        b'{"op": "NewProxy"}',
        b'{"op": ["NewProxy"], "content": {}}',
        b'{"op": "newproxy", "content": {}}',
        b'{"op": "NewProxy", "content": {"user": {"metas": {"node": 1e999}}}}',
        b'{"op": "Login", "content": {"metas": {"node": ' + b"9" * 5000 + b"}}}",
        b'{"op": "CloseProxy", "content": []}' + b"\xff",
    ],
)
async def test_the_gate_says_no_in_words_whatever_it_is_asked(body: bytes) -> None:
    transport = httpx.ASGITransport(app=gate.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
        answer = await client.post("/frps", content=body)
    assert answer.status_code in {200, 400}
    told = json.loads(answer.content)
    assert told["reject"] is True
    assert told["reject_reason"]


def test_the_moves_of_a_machine_are_these_and_no_others() -> None:
    standing = {NodeStatus.ONLINE, NodeStatus.BUSY, NodeStatus.DRAINING}
    aside = {NodeStatus.MAINTENANCE, NodeStatus.SUSPECT, NodeStatus.OFFLINE}
    assert NODE.edges == {
        **{status: (standing - {status}) | aside for status in standing},
        NodeStatus.MAINTENANCE: {NodeStatus.ONLINE, NodeStatus.OFFLINE},
        NodeStatus.SUSPECT: {NodeStatus.ONLINE, NodeStatus.MAINTENANCE, NodeStatus.OFFLINE},
        NodeStatus.OFFLINE: {NodeStatus.ONLINE, NodeStatus.MAINTENANCE},
    }
