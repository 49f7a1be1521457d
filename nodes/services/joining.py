"""How a machine becomes a node: a key shown once, bound to one Ed25519 public key for ever."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from decimal import Decimal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, money, outbox
from core.errors import Conflict, Invalid, NotFound, Unauthenticated
from core.ids import new_id
from hostagent.protocol import HostFacts, JoinAnswer, JoinRequest, SelfTestResult, join_statement
from nodes.events import NodeChanged
from nodes.models import Gpu, Node, NodeKey
from nodes.services.listing import refresh_offer

UNUSED_KEY_HOURS = 24
# What a new machine asks until its host sets a price, in currency units.
DEFAULT_GPU_HOURLY = Decimal("0.30")
DEFAULT_CPU_NODE_HOURLY = Decimal("0.05")
DEFAULT_STORAGE_GB_MONTHLY = Decimal("0.10")


@transaction.atomic
def create_node_key(*, actor: Actor, name: str) -> tuple[NodeKey, str]:
    """Make the key that one agent joins with; the plain text is returned once and stored hashed."""
    actor.require("node_key:manage")
    if not 1 <= len(name.strip()) <= 80:
        raise Invalid("name_length", "A name has 1 to 80 characters.")
    prefix = secrets.token_hex(5)
    plain = f"dcn_{prefix}_{secrets.token_urlsafe(32)}"
    now = clock.now()
    key = NodeKey.objects.create(
        owner_id=actor.user_id,
        name=name.strip(),
        prefix=prefix,
        digest=hashlib.sha256(plain.encode()).hexdigest(),
        created_at=now,
        expires_at=now + dt.timedelta(hours=UNUSED_KEY_HOURS),
    )
    audit.record(
        actor=actor,
        verb="node_key.created",
        subject_type="node_key",
        subject_id=key.pk,
        data={"prefix": prefix},
    )
    return key, plain


@transaction.atomic
def revoke_node_key(*, actor: Actor, key_id: uuid.UUID) -> None:
    """Make a node key useless; a running session of it ends at its next reconnect."""
    actor.require("node_key:manage")
    key = NodeKey.objects.visible_to(actor).lock().filter(pk=key_id).first()
    if key is None:
        raise NotFound("node_key_unknown", "You have no such node key.")
    if key.revoked_at is None:
        key.revoked_at = clock.now()
        key.save(update_fields=["revoked_at"])
        audit.record(
            actor=actor,
            verb="node_key.revoked",
            subject_type="node_key",
            subject_id=key.pk,
            data={},
        )


def authenticate_node_key(plain: str) -> NodeKey:
    """Return the key that `plain` names; raises Unauthenticated `node_key_wrong` or `node_key_expired`."""
    prefix = plain.split("_")[1] if plain.startswith("dcn_") and plain.count("_") >= 2 else ""
    readable = prefix.isascii() and prefix.isalnum()
    key = NodeKey.objects.filter(prefix=prefix, revoked_at=None).first() if readable else None
    digest = hashlib.sha256(plain.encode()).hexdigest()
    if key is None or not hmac.compare_digest(key.digest, digest):
        raise Unauthenticated(
            "node_key_wrong", "This node key is not one of ours. Make a new one on the fleet page."
        )
    if not key.public_key and key.expires_at <= clock.now():
        raise Unauthenticated(
            "node_key_expired", "This node key was not used within 24 h. Make a new one."
        )
    return key


def verify_signature(public_key: str, signature: str, statement: bytes) -> None:
    """Raise Unauthenticated `signature_wrong` unless the hex `signature` is the key's on `statement`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), statement)
    except (ValueError, InvalidSignature) as error:
        raise Unauthenticated(
            "signature_wrong", "The signature does not fit the key that this node registered."
        ) from error


@transaction.atomic
def join_node(*, plain_key: str, request: JoinRequest) -> JoinAnswer:
    """Register a machine, or give the same answer again to the same key pair.

    Raises Unauthenticated (wrong key, wrong signature), Conflict `node_key_bound` (another key pair
    holds this node key) or Invalid `self_test_failed` with the failing checks; then nothing is written.
    """
    statement = join_statement(
        node_key=plain_key, public_key=request.public_key, instance_id=request.instance_id
    )
    verify_signature(request.public_key, request.signature, statement)
    key = NodeKey.objects.lock().get(pk=authenticate_node_key(plain_key).pk)
    if key.public_key and key.public_key != request.public_key:
        raise Conflict(
            "node_key_bound",
            "This node key belongs to another machine. Make a new key for this one.",
        )
    if not key.public_key:
        _refuse_failed_checks(request.checks)
        key.node = _create_node(key, request)
        key.public_key = request.public_key
        key.save(update_fields=["node", "public_key"])
    assert key.node_id is not None
    return JoinAnswer(
        node_id=str(key.node_id),
        key_id=str(key.pk),
        deployment=settings.DC.deployment,
        gateway_url=settings.DC.gateway_url,
    )


def _refuse_failed_checks(checks: list[SelfTestResult]) -> None:
    failed = [check for check in checks if not check.passed and check.severity == "refuse"]
    if failed:
        raise Invalid(
            "self_test_failed",
            "This machine cannot be listed yet: "
            + " ".join(f"{c.check}: {c.measured}, needs {c.required}. {c.remedy}" for c in failed),
            checks=[msgspec.to_builtins(check) for check in failed],
        )


def _create_node(key: NodeKey, request: JoinRequest) -> Node:
    node = Node(
        id=new_id(),
        owner_id=key.owner_id,
        name=key.name,
        agent_version=request.agent_version,
        checks=[msgspec.to_builtins(check) for check in request.checks],
        gpu_rate=money.rate_from_hourly(DEFAULT_GPU_HOURLY),
        cpu_node_rate=money.rate_from_hourly(DEFAULT_CPU_NODE_HOURLY),
        storage_gb_rate=money.rate_from_monthly(DEFAULT_STORAGE_GB_MONTHLY),
        created_at=clock.now(),
    )
    apply_facts(node, request.facts)
    node.save(force_insert=True)
    sync_gpus(node, request.facts)
    refresh_offer(node)
    actor = Actor.of_agent(node.pk, node.name)
    audit.record(
        actor=actor,
        verb="node.joined",
        subject_type="node",
        subject_id=node.pk,
        data={"key": key.prefix, "tier": node.tier, "digest": request.facts.digest},
    )
    outbox.publish(NodeChanged(node_id=str(node.pk)))
    return node


def apply_facts(node: Node, facts: HostFacts) -> None:
    """Copy what an agent measured onto its node (not saved)."""
    node.facts = msgspec.to_builtins(facts)
    node.tier = facts.tier if facts.tier in {"CPU", "CONSUMER_GPU", "HPC"} else "CPU"
    node.cpu_cores = facts.cpu_cores
    node.memory_mib = facts.memory_mib
    node.disk_gb = facts.disk_free_gb


def sync_gpus(node: Node, facts: HostFacts) -> None:
    """Make the node's cards those the agent sees; a card that is gone stays as a row, not present."""
    seen = {gpu.uuid for gpu in facts.gpus}
    Gpu.objects.filter(node=node).exclude(uuid__in=seen).update(present=False)
    for gpu in facts.gpus:
        Gpu.objects.update_or_create(
            node=node,
            uuid=gpu.uuid,
            defaults={
                "index": gpu.index,
                "model": gpu.model,
                "vram_mib": gpu.vram_mib,
                "details": msgspec.to_builtins(gpu),
                "present": True,
            },
        )
