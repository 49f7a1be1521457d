"""Reads across machines, offers and workloads."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection
from django.db.models import QuerySet

from accounts import vault
from accounts.actors import Actor
from core import clock, secrets
from hostagent.protocol import ContainerSpec, Desired, DesiredWorkload, StartInstance, StopInstance
from nodes.machine import NodeStatus, Wish
from nodes.models import ModelPrice, Node, Offer, Workload


def listed_offers() -> QuerySet[Offer]:
    """Offers that can be rented now, cheapest first."""
    return Offer.objects.filter(listed=True).select_related("node").order_by("compute_rate", "id")


def machine_names(actor: Actor, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the names of those machines that the actor manages; one that is gone is left out."""
    rows = Node.objects.visible_to(actor).filter(pk__in=set(ids))
    return dict(rows.values_list("pk", "name"))


def desired_set(node: Node) -> Desired:
    """Return the whole of what should be on a node, oldest first, as the agent reads it.

    It is one frame, so only what should run comes with its spec: a machine can run few, and keep very many.
    """
    workloads = Workload.objects.filter(node=node).exclude(
        wish=Wish.ABSENT.value, observed_state="absent"
    )
    resting = workloads.exclude(wish=Wish.RUNNING.value).defer("spec", "sealed_env", "observed")
    told = [*workloads.filter(wish=Wish.RUNNING.value), *resting]
    return Desired(
        epoch=node.epoch,
        generation=node.generation,
        draining=node.draining,
        workloads=[_picture(one) for one in sorted(told, key=lambda one: (one.created_at, one.pk))],
    )


def commands_since(node: Node, generation: int) -> list[StartInstance | StopInstance]:
    """Return one command for each workload whose wish changed after `generation`, oldest first."""
    changed = Workload.objects.filter(node=node, node_generation__gt=generation)
    return [_command(node, workload) for workload in changed.order_by("node_generation")]


class PricePoint(NamedTuple):
    """What hosts asked for free cards of a model, on the mean of the hours of one step; nano-units a second.

    `gpu_model` is empty for machines without a card. `free` cards of so many `hosts`: means, too.
    """

    gpu_model: str
    at: dt.datetime
    free: int
    hosts: int
    p10: int
    p50: int
    p90: int


# A step counts the hours that were written down; one without any is no row, and nothing is made up for it.
_HISTORY = """
    SELECT gpu_model, date_bin(%(step)s * interval '1 second', hour, to_timestamp(0)) AS at, round(avg(free))::bigint,
           round(avg(hosts))::bigint, round(avg(p10))::bigint, round(avg(p50))::bigint, round(avg(p90))::bigint
    FROM nodes_modelprice WHERE gpu_model = ANY(%(models)s) AND hour >= %(since)s
    GROUP BY 1, 2 ORDER BY 1, 2
"""


def price_history(
    models: Sequence[str], *, since: dt.datetime, step_seconds: int
) -> dict[str, list[PricePoint]]:
    """Return what each of these models has cost since then, oldest first."""
    asked: dict[str, Any] = {"models": list(models), "since": since, "step": step_seconds}
    found: dict[str, list[PricePoint]] = {model: [] for model in models}
    with connection.cursor() as cursor:
        cursor.execute(_HISTORY, asked)
        for row in cursor.fetchall():
            found[row[0]].append(PricePoint(*row))
    return found


def priced_models(*, since: dt.datetime) -> list[str]:
    """Return the models of which a price is known since then, in the order of their characters."""
    rows = ModelPrice.objects.filter(hour__gte=since).values_list("gpu_model", flat=True)
    return sorted(rows.order_by().distinct())


def newest_prices(models: Sequence[str], *, since: dt.datetime) -> dict[str, ModelPrice]:
    """Return the newest hour since then, and until now, of each of these models."""
    rows = ModelPrice.objects.filter(gpu_model__in=models, hour__gt=since, hour__lte=clock.now())
    rows = rows.order_by("gpu_model", "-hour")
    return {row.gpu_model: row for row in rows.distinct("gpu_model")}


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
        spec=container_spec(workload) if workload.wish == Wish.RUNNING else None,
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
