"""Agent sessions: proof of identity, epochs that fence older sockets, beats, and when a node is lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection, transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock, outbox
from core.errors import Conflict, Forbidden, Unauthenticated
from hostagent.protocol import Hello, Welcome, session_statement
from nodes import liveness
from nodes.events import NodeBack, NodeCloned, NodeFirstSeen, NodeLost
from nodes.machine import NodeStatus
from nodes.models import AgentSession, Node, NodeKey
from nodes.queries import desired_set
from nodes.services.images import record_images
from nodes.services.joining import apply_facts, sync_gpus, verify_signature
from nodes.services.listing import move_node, refresh_offer
from nodes.services.tunnels import tunnel_settings
from nodes.services.workloads import record_observed


def open_session(*, key: NodeKey, nonce: str, hello: Hello, gateway: str) -> Welcome:
    """Open a node's session and fence every older one; return the answer with the whole desired set.

    Raises Forbidden `node_foreign` (the key is another node's), Unauthenticated `signature_wrong`,
    `node_key_wrong` (revoked meanwhile), Conflict `node_cloned` (two instances of one identity within
    a minute: both are put aside).
    """
    if key.node_id is None or (str(key.node_id), str(key.pk)) != (hello.node_id, hello.key_id):
        raise Forbidden("node_foreign", "This key belongs to another node.")
    statement = session_statement(
        deployment=settings.DC.deployment,
        node_id=hello.node_id,
        key_id=hello.key_id,
        nonce=nonce,
    )
    verify_signature(key.public_key, hello.signature, statement)
    with transaction.atomic():
        if not NodeKey.objects.filter(pk=key.pk, revoked_at=None).exists():
            raise Unauthenticated("node_key_wrong", "This node key has been revoked.")
        node = Node.objects.lock().get(pk=key.node_id)
        cloned = _other_instance(node, hello)
        if cloned is None:
            return _welcome(node, key, hello, gateway)
        _quarantine(node, cloned, hello)
    raise Conflict(
        "node_cloned",
        "Two machines use this node's identity. Both are put aside; give each its own node key.",
    )


def _other_instance(node: Node, hello: Hello) -> AgentSession | None:
    # Also one that has closed: a copy that waits for its turn is a copy.
    session = AgentSession.objects.filter(node=node).order_by("-epoch").first()
    if session is None or session.instance_id == hello.instance_id:
        return None
    silence = (clock.now() - session.last_beat).total_seconds()
    return session if silence < settings.DC.clone_window_seconds else None


def _quarantine(node: Node, session: AgentSession, hello: Hello) -> None:
    move_node(node, NodeStatus.MAINTENANCE)
    node.epoch += 1
    node.save(update_fields=["epoch"])
    AgentSession.objects.filter(pk=session.pk, closed_at=None).update(closed_at=clock.now())
    refresh_offer(node)
    audit.record(
        actor=Actor.of_agent(node.pk, node.name),
        verb="node.cloned",
        subject_type="node",
        subject_id=node.pk,
        data={"instances": [session.instance_id, hello.instance_id]},
    )
    outbox.publish(NodeCloned(node_id=str(node.pk), at=clock.now().timestamp()))


def _replace_session(
    node: Node, key: NodeKey, hello: Hello, gateway: str, now: dt.datetime
) -> None:
    """Close whatever session the node had and note the new one, under the node's lock."""
    AgentSession.objects.filter(node=node, closed_at=None).update(closed_at=now)
    AgentSession.objects.create(
        node=node,
        epoch=node.epoch,
        key=key,
        instance_id=hello.instance_id,
        boot_id=hello.boot_id,
        gateway=gateway,
        opened_at=now,
        last_beat=now,
    )


def _welcome(node: Node, key: NodeKey, hello: Hello, gateway: str) -> Welcome:
    now = clock.now()
    was, heard = NodeStatus(node.status), node.last_beat or now
    node.epoch += 1
    node.agent_version = hello.agent_version
    node.checks = [msgspec.to_builtins(check) for check in hello.checks]
    node.last_beat = now
    apply_facts(node, hello.facts)
    if was in {NodeStatus.OFFLINE, NodeStatus.SUSPECT}:
        move_node(node, NodeStatus.ONLINE)
    node.save()
    _replace_session(node, key, hello, gateway, now)
    sync_gpus(node, hello.facts)
    record_images(node, hello.cache)
    record_observed(node_id=str(node.pk), epoch=node.epoch, reports=hello.observed)
    node.refresh_from_db()
    refresh_offer(node)
    if node.epoch == 1:
        outbox.publish(NodeFirstSeen(node_id=str(node.pk), at=now.timestamp()))
    # Whoever should have noticed the silence may have been silent too.
    if was is NodeStatus.OFFLINE or (now - heard).total_seconds() >= settings.DC.offline_seconds:
        last, first = clock.to_epoch(heard), clock.to_epoch(now)
        outbox.publish(NodeBack(node_id=str(node.pk), last_beat=last, first_beat=first))
    audit.record(
        actor=Actor.of_agent(node.pk, node.name),
        verb="node.session_opened",
        subject_type="node",
        subject_id=node.pk,
        data={"epoch": node.epoch, "gateway": gateway},
    )
    return Welcome(
        epoch=node.epoch,
        heartbeat_s=settings.DC.heartbeat_seconds,
        server_time=now.timestamp(),
        tunnel=tunnel_settings(node),
        desired=desired_set(node),
    )


@transaction.atomic
def close_session(*, node_id: str, epoch: int) -> None:
    """Write down that a socket has closed. The node stays what it is until silence says otherwise."""
    AgentSession.objects.filter(node_id=node_id, epoch=epoch, closed_at=None).update(
        closed_at=clock.now()
    )


@transaction.atomic
def record_beats(*, beats: Mapping[tuple[str, int], float]) -> None:
    """Write many heartbeats in a few statements, whose number does not depend on theirs.

    Args:
        beats: (node id, epoch) -> epoch seconds of the last beat. Beats of a fenced epoch, and beats
            older than what is written, change nothing. A lost node comes back by a session, not by a beat:
            its gap must keep its beginning. A gap that nobody noticed is told of (`NodeBack`).
    """
    if not beats:
        return
    keys = list(beats)
    columns: tuple[Any, ...] = (
        [key[0] for key in keys],
        [key[1] for key in keys],
        [beats[key] for key in keys],
    )
    with connection.cursor() as cursor:
        # An UPDATE takes rows as it finds them: two batches, or one and the sweep, would wait for each other.
        cursor.execute(_LOCKED_GAPS, (columns[0], *columns, settings.DC.offline_seconds))
        for node_id, heard, at in cursor.fetchall():
            gap = NodeBack(node_id=str(node_id), last_beat=int(heard), first_beat=int(at))
            outbox.publish(gap)
        for table, node_column, also in (
            ("nodes_node", "id", "AND t.status <> 'offline'"),
            ("nodes_agentsession", "node_id", ""),
        ):
            cursor.execute(
                f"UPDATE {table} AS t SET last_beat = to_timestamp(b.at) "  # noqa: S608  # constants
                "FROM unnest(%s::uuid[], %s::bigint[], %s::float8[]) AS b(node, epoch, at) "
                f"WHERE t.{node_column} = b.node AND t.epoch = b.epoch "
                f"AND t.last_beat < to_timestamp(b.at) {also}",
                columns,
            )
    _revive([key[0] for key in keys])


# Which nodes were silent for so long that they should count as lost, and nobody noticed; all are locked in order.
_LOCKED_GAPS = """
    SELECT n.id, extract(epoch FROM n.last_beat)::float8, b.at
    FROM (SELECT id, epoch, status, last_beat FROM nodes_node WHERE id = ANY(%s::uuid[])
          ORDER BY id FOR NO KEY UPDATE) AS n
    JOIN unnest(%s::uuid[], %s::bigint[], %s::float8[]) AS b(node, epoch, at)
      ON b.node = n.id AND b.epoch = n.epoch
    WHERE n.status <> 'offline' AND b.at - extract(epoch FROM n.last_beat) >= %s
"""


def _revive(node_ids: list[str]) -> None:
    for node in Node.objects.lock().filter(pk__in=node_ids, status=NodeStatus.SUSPECT.value):
        move_node(node, NodeStatus.ONLINE)
        refresh_offer(node)


@transaction.atomic
def sweep_liveness() -> int:
    """Move silent nodes to suspect and offline; return how many moved."""
    moved = 0
    now = clock.now()
    statuses = [s.value for s in NodeStatus if s is not NodeStatus.OFFLINE]
    for node in Node.objects.lock().filter(status__in=statuses, last_beat__isnull=False):
        assert node.last_beat is not None
        frm = NodeStatus(node.status)
        to = liveness.judge(
            frm,
            (now - node.last_beat).total_seconds(),
            suspect=settings.DC.suspect_seconds,
            offline=settings.DC.offline_seconds,
        )
        if to is not frm:
            moved += 1
            _worsen(node, to)
    return moved


def _worsen(node: Node, to: NodeStatus) -> None:
    assert node.last_beat is not None
    move_node(node, to)
    refresh_offer(node)
    audit.record(
        actor=Actor.system(),
        verb=f"node.{to.value}",
        subject_type="node",
        subject_id=node.pk,
        data={"last_beat": node.last_beat.isoformat()},
    )
    if to is NodeStatus.OFFLINE:
        beat = clock.to_epoch(node.last_beat)
        outbox.publish(NodeLost(node_id=str(node.pk), last_beat=beat))
