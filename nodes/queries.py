"""Reads across machines, offers and workloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from django.db.models import QuerySet

from accounts import vault
from core import secrets
from hostagent.protocol import ContainerSpec, Desired, DesiredWorkload, StartInstance, StopInstance
from nodes.machine import NodeStatus, Wish
from nodes.models import Node, Offer, Workload


def listed_offers() -> QuerySet[Offer]:
    """Offers that can be rented now, cheapest first."""
    return Offer.objects.filter(listed=True).select_related("node").order_by("compute_rate", "id")


def desired_set(node: Node) -> Desired:
    """Return the whole of what should be on a node, as the agent reads it."""
    workloads = Workload.objects.filter(node=node).exclude(
        wish=Wish.ABSENT.value, observed_state="absent"
    )
    return Desired(
        epoch=node.epoch,
        generation=node.generation,
        draining=node.draining,
        workloads=[_picture(workload) for workload in workloads.order_by("created_at")],
    )


def commands_since(node: Node, generation: int) -> list[StartInstance | StopInstance]:
    """Return one command for each workload whose wish changed after `generation`, oldest first."""
    changed = Workload.objects.filter(node=node, node_generation__gt=generation)
    return [_command(node, workload) for workload in changed.order_by("node_generation")]


class Position(NamedTuple):
    """Where a node is, for the gateway that holds its connection."""

    epoch: int
    generation: int
    lost: bool


def current_positions(node_ids: Iterable[str]) -> dict[str, Position]:
    """Return node id -> position for the nodes of a gateway."""
    rows = Node.objects.filter(pk__in=list(node_ids)).values_list(
        "pk", "epoch", "generation", "status"
    )
    return {
        str(pk): Position(epoch, generation, status == NodeStatus.OFFLINE)
        for pk, epoch, generation, status in rows
    }


def container_spec(workload: Workload) -> ContainerSpec:
    """Return a workload's spec with its secret values, for the wire only.

    A workload that should not run is told none of them.
    """
    env = json.loads(secrets.unseal(workload.sealed_env)) if workload.sealed_env else {}
    joined = _joined(workload.spec) if workload.wish == Wish.RUNNING else {}
    return msgspec.convert({**workload.spec, "env_vars": env, **joined}, ContainerSpec)


def _joined(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what takes the place of the secrets' ids on the wire, and what has been deleted."""
    ids = {name: uuid.UUID(text) for name, text in (spec.get("secret_ids") or {}).items()}
    values = vault.reveal(ids.values()) if ids else {}
    gone = sorted(name for name, pk in ids.items() if pk not in values)
    joined: dict[str, Any] = {
        "secret_env": {name: values[pk] for name, pk in ids.items() if pk in values}
    }
    if spec.get("login_id"):
        login = vault.reveal_login(uuid.UUID(spec["login_id"]))
        if login is None:
            gone.append("the registry's log-in")
        else:
            joined["registry_login"] = {"user": login.user, "password": login.password}
    return {**joined, "secrets_gone": gone}


def _picture(workload: Workload) -> DesiredWorkload:
    return DesiredWorkload(
        workload_id=str(workload.pk),
        workload_generation=workload.generation,
        rental_id=str(workload.subject_id),
        state=workload.wish,
        spec=container_spec(workload) if workload.wish != Wish.ABSENT else None,
    )


def _command(node: Node, workload: Workload) -> StartInstance | StopInstance:
    command_id = f"{workload.pk}:{workload.node_generation}"
    if workload.wish == Wish.RUNNING:
        return StartInstance(
            id=command_id,
            epoch=node.epoch,
            generation=workload.node_generation,
            workload_id=str(workload.pk),
            workload_generation=workload.generation,
            rental_id=str(workload.subject_id),
            spec=container_spec(workload),
        )
    return StopInstance(
        id=command_id,
        epoch=node.epoch,
        generation=workload.node_generation,
        workload_id=str(workload.pk),
        workload_generation=workload.generation,
        remove=workload.wish == Wish.ABSENT,
        reason=workload.stop_reason,
    )
