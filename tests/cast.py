"""The cast and their things, made through the services: alice rents, bob hosts, carol is a stranger, dora is staff."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from accounts import services as accounts
from accounts.actors import Actor
from accounts.models import User
from billing import services as billing
from core import clock, money
from core.ids import new_id
from hostagent.protocol import (
    GpuFacts,
    Hello,
    HostFacts,
    ImageCache,
    JoinRequest,
    Observed,
    PlatformMessage,
    Welcome,
    WorkloadReport,
    WorkloadState,
    join_statement,
    session_statement,
)
from nodes import gateway
from nodes import services as nodes
from nodes.models import Node, Offer, ProxyServer, Workload
from rentals import services as rentals
from rentals.launch import read_document
from rentals.models import Rental, Template


def person(name: str, *, role: str = "BOTH", is_staff: bool = False, usd: int = 0) -> Actor:
    """Make a person with some money; returns who they are to the services."""
    user = accounts.create_user(
        email=f"{name}-{uuid.uuid4().hex[:8]}@example.org",
        password="correct horse battery",
        role=role,
        name=name,
        is_staff=is_staff,
    )
    if usd:
        billing.deposit(
            actor=Actor.system(),
            owner_id=user.pk,
            amount=usd * money.NANO,
            idem=f"test-{user.pk}",
        )
    return accounts.actor_of(User.objects.get(pk=user.pk))


def public_ssh_key() -> str:
    """Return a fresh public key line."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " test"


def facts(
    *, gpus: int = 0, cores: int = 8, memory_mib: int = 16_384, disk_gb: int = 100
) -> HostFacts:
    """Return what a machine of this size would say of itself."""
    return HostFacts(
        hostname="atlas",
        os="Debian GNU/Linux 12",
        kernel="6.1",
        architecture="x86_64",
        cpu_model="test",
        cpu_cores=cores,
        memory_mib=memory_mib,
        disk_gb=disk_gb,
        disk_free_gb=disk_gb,
        tier="CONSUMER_GPU" if gpus else "CPU",
        gpus=[
            GpuFacts(uuid=f"GPU-{uuid.uuid4()}", index=i, model="RTX 4090", vram_mib=24_564)
            for i in range(gpus)
        ],
        digest="test",
    )


@dataclass
class ProtocolAgent:
    """Speaks the agent's protocol with real keys and signatures, without a machine behind it."""

    plain_key: str
    facts: HostFacts = field(default_factory=facts)
    cache: ImageCache | None = None
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    node_id: str = ""
    key_id: str = ""
    epoch: int = 0

    @property
    def public_key(self) -> str:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return raw.hex()

    def join_request(self) -> JoinRequest:
        statement = join_statement(
            node_key=self.plain_key, public_key=self.public_key, instance_id=self.instance_id
        )
        return JoinRequest(
            public_key=self.public_key,
            signature=self.private.sign(statement).hex(),
            agent_version="0.1.0",
            instance_id=self.instance_id,
            facts=self.facts,
        )

    def join(self) -> Node:
        answer = nodes.join_node(plain_key=self.plain_key, request=self.join_request())
        self.node_id, self.key_id = answer.node_id, answer.key_id
        return Node.objects.get(pk=answer.node_id)

    def dial(self) -> gateway.AgentLink:
        return gateway.authenticate(f"Bearer {self.plain_key}", "test-gateway")

    def hello(self, link: gateway.AgentLink, observed: list[WorkloadReport] | None = None) -> Hello:
        challenge = link.challenge()
        statement = session_statement(
            deployment=challenge.deployment,
            node_id=self.node_id,
            key_id=self.key_id,
            nonce=challenge.nonce,
        )
        return Hello(
            node_id=self.node_id,
            key_id=self.key_id,
            signature=self.private.sign(statement).hex(),
            agent_version="0.1.0",
            instance_id=self.instance_id,
            boot_id="boot",
            generation=0,
            facts=self.facts,
            observed=observed or [],
            cache=self.cache,
        )

    def connect(self) -> gateway.AgentLink:
        link = self.dial()
        [welcome] = gateway.handle(link, self.hello(link))
        assert isinstance(welcome, Welcome)
        self.epoch = welcome.epoch
        return link

    def beat(self) -> None:
        """Let the gateway write that it has heard this machine now, as it has all the time."""
        just_now = clock.now() - dt.timedelta(seconds=5)
        Node.objects.filter(pk=self.node_id, last_beat__lt=just_now).update(last_beat=just_now)
        nodes.record_beats(beats={(self.node_id, self.epoch): clock.epoch()})

    def report(
        self, link: gateway.AgentLink, workload: Workload, state: WorkloadState, **more: object
    ) -> list[PlatformMessage]:
        seen = WorkloadReport(
            workload_id=str(workload.pk),
            generation=workload.generation,
            state=state,
            **more,  # type: ignore[arg-type]
        )
        return gateway.handle(link, Observed(epoch=link.epoch, workloads=[seen]))


def machine(host: Actor, *, gpus: int = 0, name: str = "atlas-03") -> tuple[ProtocolAgent, Offer]:
    """Join and connect a machine of this host; returns its agent and its offer."""
    _, plain = nodes.create_node_key(actor=host, name=name)
    agent = ProtocolAgent(plain, facts=facts(gpus=gpus))
    agent.join()
    agent.connect()
    return agent, Offer.objects.get(node_id=agent.node_id)


def proxy_server(*, first: int = 20_000, count: int = 20) -> ProxyServer:
    """Make the proxy server known, with a small pool of ports."""
    return nodes.register_proxy_server(
        name="local",
        public_host="127.0.0.1",
        server_host="127.0.0.1",
        server_port=7000,
        first=first,
        last=first + count - 1,
    )


def template(image: str = "127.0.0.1:5000/dcompute/demo:1") -> Template:
    """Make the official demo template exist, with this image."""
    return rentals.upsert_official_template(
        actor=Actor.system(),
        document=read_document(
            {
                "slug": "demo",
                "name": "Debian with SSH",
                "launch": {"image": image, "ports": [{"port": 8888}]},
            }
        ),
    )


def rented(
    renter: Actor, offer: Offer, *, key: str | None = None, gpus: int | None = None
) -> Rental:
    """Rent an offer for this person, with a fresh SSH key when they have none."""
    if not accounts.ssh_keys_of(actor=renter):
        accounts.add_ssh_key(actor=renter, name="laptop", public_key=public_ssh_key())
    quote = rentals.quote_offer(
        actor=renter, offer_id=offer.pk, template_id=template().pk, gpu_count=gpus
    )
    return rentals.request_rental(
        actor=renter,
        quote_id=quote.pk,
        ssh_key_ids=None,
        idempotency_key=key or str(new_id()),
    )


def workload_of(rental: Rental) -> Workload:
    return Workload.objects.get(pk=rental.workload_id)


__all__ = [
    "ProtocolAgent",
    "facts",
    "machine",
    "person",
    "proxy_server",
    "public_ssh_key",
    "rented",
    "template",
    "workload_of",
]
