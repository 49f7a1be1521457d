"""What should run on a node and what does. A wish is a row; the gateway carries pictures of it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.actors import Actor
from audit import services as audit
from core import clock, outbox, secrets
from core.errors import Conflict
from core.ids import new_id
from hostagent.protocol import ImageCache, WorkloadReport, WorkloadState
from nodes.events import LogsExpiring, WorkloadObserved, WorkloadWished
from nodes.machine import Wish
from nodes.models import Node, Workload, WorkloadLog
from nodes.services.capacity import release_allocation
from nodes.services.images import record_images
from nodes.services.listing import note_start
from nodes.services.ports import release_ports

WARN_OF_LOGS = dt.timedelta(days=3)
# What an agent sees of a container that has not run yet.
UP_TO_RUNNING = frozenset({"", WorkloadState.PULLING.value, WorkloadState.STARTING.value})
# What a report may bring that moves a rental; and of a download, each step of this many, else bytes.
NEWS = ("state", "generation", "restarts", "code", "idle")
PULL_STEPS, PULL_STEP_BYTES = 50, 64 * 1024 * 1024
OBSERVED = ["observed", "observed_state", "observed_generation", "observed_at"]


def create_workload(
    *,
    actor: Actor,
    node: Node,
    subject_id: uuid.UUID,
    spec: Mapping[str, Any],
    env: Mapping[str, str],
    workload_id: uuid.UUID | None = None,
) -> Workload:
    """Wish for a container on a locked node. `spec` is stored openly, `env` encrypted.

    Allocation and ports are the caller's next steps in the same transaction.
    """
    workload = Workload.objects.create(
        id=workload_id or new_id(),
        node=node,
        subject_id=subject_id,
        wish=Wish.RUNNING.value,
        node_generation=_raise_generation(node),
        spec=dict(spec),
        sealed_env=secrets.seal(json.dumps(dict(env))),
        created_at=clock.now(),
    )
    audit.record(
        actor=actor,
        verb="workload.wished",
        subject_type="workload",
        subject_id=workload.pk,
        data={"wish": "running", "node": str(node.pk), "subject": str(subject_id)},
    )
    outbox.publish(WorkloadWished(node_id=str(node.pk)))
    return workload


def wish_workload(*, actor: Actor, workload_id: uuid.UUID, wish: Wish, reason: str) -> Workload:
    """Change what should be true of a workload; harmless when it is wished already.

    Locks the node, then the workload. A stopped workload that should run again gets its allocation
    from the caller (`nodes.services.allocate`) in the same transaction.
    """
    node = Node.objects.lock().get(workloads=workload_id)
    workload = Workload.objects.lock().get(pk=workload_id)
    frm = Wish(workload.wish)
    if frm is wish:
        return workload
    if frm is Wish.ABSENT:
        raise Conflict("workload_gone", "This has been deleted and cannot come back.")
    generation = _raise_generation(node)
    Workload.objects.move(
        workload.pk, frm, wish, at_generation=generation, incarnation=workload.generation
    )
    Workload.objects.filter(pk=workload.pk).update(stop_reason=reason[:100])
    workload.refresh_from_db()
    if wish is Wish.ABSENT:
        release_ports(workload=workload)
        if workload.observed_state == WorkloadState.ABSENT.value:
            release_allocation(node=node, workload=workload)
    audit.record(
        actor=actor,
        verb="workload.wished",
        subject_type="workload",
        subject_id=workload.pk,
        data={"wish": wish.value, "reason": reason},
    )
    outbox.publish(WorkloadWished(node_id=str(node.pk)))
    return workload


def revise_keys(*, actor: Actor, workload_id: uuid.UUID, ssh_keys: Sequence[str]) -> None:
    """Give a workload other SSH keys; one that runs takes them without a restart. Locks node, workload."""
    _, workload = _locked(workload_id)
    workload.spec = {**workload.spec, "ssh_keys": list(ssh_keys)}
    _tell(actor, workload, "workload.keys_changed", {"keys": len(ssh_keys)})


def restart_workload(*, actor: Actor, workload_id: uuid.UUID) -> Workload:
    """Wish that a running container is stopped and started once, data kept. Locks node, workload."""
    _, workload = _locked(workload_id)
    workload.spec = {**workload.spec, "restarts": workload.spec.get("restarts", 0) + 1}
    _tell(actor, workload, "workload.restarted", {"restarts": workload.spec["restarts"]})
    return workload


def checkpoint_workload(
    *, actor: Actor, workload_id: uuid.UUID, command: str, seconds: int
) -> None:
    """Run a command once inside a running container, at most `seconds` long. Locks node, workload."""
    _, workload = _locked(workload_id)
    serial = (workload.spec.get("checkpoint") or {}).get("serial", 0) + 1
    wanted = {"serial": serial, "command": command, "timeout_s": seconds}
    workload.spec = {**workload.spec, "checkpoint": wanted}
    _tell(actor, workload, "workload.checkpoint", {"serial": serial, "seconds": seconds})


def has_restarted(workload: Workload) -> bool:
    """Whether the container that the agent saw has had every restart that was wished."""
    return int(workload.observed.get("restarts", 0)) >= int(workload.spec.get("restarts", 0))


def renew_workload(*, actor: Actor, workload_id: uuid.UUID) -> Workload:
    """Wish for a fresh container instead of the one that is there, which is deleted with its disk.

    Locks node, workload. What is seen of the old one no longer counts.
    """
    _, workload = _locked(workload_id)
    workload.generation += 1
    workload.observed, workload.observed_state = {}, ""
    workload.save(update_fields=["generation", "observed", "observed_state"])
    _tell(actor, workload, "workload.renewed", {"incarnation": workload.generation})
    return workload


def lock_workload(*, workload_id: uuid.UUID) -> Workload:
    """Return a workload that nobody changes, its agent neither, until the transaction ends. Locks node, workload."""
    return _locked(workload_id)[1]


def _locked(workload_id: uuid.UUID) -> tuple[Node, Workload]:
    node = Node.objects.lock().get(workloads=workload_id)
    return node, Workload.objects.lock().get(pk=workload_id)


def _tell(actor: Actor, workload: Workload, verb: str, data: Mapping[str, Any]) -> None:
    """Save a locked workload's spec as news for its agent."""
    workload.node_generation = _raise_generation(workload.node)
    workload.save(update_fields=["spec", "node_generation"])
    audit.record(actor=actor, verb=verb, subject_type="workload", subject_id=workload.pk, data=data)
    outbox.publish(WorkloadWished(node_id=str(workload.node_id)))


def last_words(*, workload_id: uuid.UUID) -> WorkloadLog | None:
    """Return what a workload's container said last, if it is still kept."""
    return WorkloadLog.objects.filter(workload_id=workload_id).first()


def forget_logs() -> int:
    """Delete last words that are older than `DC_LOG_DAYS`; return how many."""
    edge = clock.now() - dt.timedelta(days=settings.DC.log_days)
    return WorkloadLog.objects.filter(at__lt=edge).delete()[0]


@transaction.atomic
def warn_of_logs(*, limit: int = 500) -> int:
    """Tell that last words will be deleted in three days, or half their time; return of how many."""
    kept = dt.timedelta(days=settings.DC.log_days)
    ahead = min(WARN_OF_LOGS, kept / 2)
    old = WorkloadLog.objects.filter(warned=False, at__lt=clock.now() - kept + ahead)
    logs = list(old.lock().select_related("workload")[:limit])
    for log in logs:
        outbox.publish(
            LogsExpiring(
                workload_id=str(log.workload_id),
                subject_id=str(log.workload.subject_id),
                until=clock.to_epoch(log.at + kept),
            )
        )
    WorkloadLog.objects.filter(pk__in=[log.pk for log in logs]).update(warned=True)
    return len(logs)


def _raise_generation(node: Node) -> int:
    Node.objects.filter(pk=node.pk).update(generation=F("generation") + 1)
    node.refresh_from_db(fields=["generation"])
    return node.generation


def record_ack(*, node_id: str, epoch: int, generation: int) -> None:
    """Write down that the agent has the picture of this generation."""
    Workload.objects.filter(
        node_id=node_id, node__epoch=epoch, node_generation__lte=generation
    ).exclude(acked_generation__gte=generation).update(acked_generation=generation)


def record_observed(
    *,
    node_id: str,
    epoch: int,
    reports: Sequence[WorkloadReport],
    cache: ImageCache | None = None,
) -> bool:
    """Write down what an agent sees, and its images when it tells them; False when its session has been fenced.

    Runs in the caller's transaction. A workload that is wished absent and seen absent gives back its
    part of the node here, and only here. Reports of workloads of other nodes change nothing, and of several
    of one workload the last one counts.
    """
    node = Node.objects.lock().filter(pk=node_id).first()
    if node is None or node.epoch != epoch:
        return False
    mine = {
        str(workload.pk): workload
        for workload in Workload.objects.lock().filter(
            node=node, pk__in=[report.workload_id for report in reports]
        )
    }
    last = {
        report.workload_id: report
        for report in reports
        if (workload := mine.get(report.workload_id)) is not None
        and report.generation == workload.generation
    }
    for workload_id, report in last.items():
        _record_one(node, mine[workload_id], report)
    if cache is not None:
        record_images(node, cache)
    return True


def _record_one(node: Node, workload: Workload, report: WorkloadReport) -> None:
    seen = msgspec.to_builtins(report)
    if logs := seen.pop("logs"):
        WorkloadLog.objects.update_or_create(
            workload=workload, defaults={"text": logs, "at": clock.now(), "warned": False}
        )
    if seen == workload.observed:
        return
    changed = report.state.value != workload.observed_state
    told = _news_of(seen) != _news_of(workload.observed)
    if _is_another_start(workload, report):
        workload.state_since = clock.now()
    had_run = workload.observed_state not in UP_TO_RUNNING
    _note_checkpoint(node, workload, seen)
    workload.observed = seen
    workload.observed_state = report.state.value
    workload.observed_generation = report.generation
    workload.observed_at = clock.now()
    workload.save(update_fields=[*OBSERVED, "state_since"])
    if changed:
        if report.state is WorkloadState.RUNNING and report.generation == 1 and not had_run:
            note_start(node, (workload.observed_at - workload.created_at).total_seconds())
        audit.record(
            actor=Actor.of_agent(node.pk, node.name),
            verb="workload.observed",
            subject_type="workload",
            subject_id=workload.pk,
            data={"state": report.state.value, "code": report.code, "exit_code": report.exit_code},
        )
    stopped = workload.wish == Wish.STOPPED and report.state is WorkloadState.STOPPED
    if workload.gone or stopped:
        release_allocation(node=node, workload=workload)
    if told:
        outbox.publish(WorkloadObserved(workload_id=str(workload.pk)))


def _note_checkpoint(node: Node, workload: Workload, seen: Mapping[str, Any]) -> None:
    done = seen["checkpoint"]
    if done is not None and done != workload.observed.get("checkpoint"):
        audit.record(
            actor=Actor.of_agent(node.pk, node.name),
            verb="workload.checkpointed",
            subject_type="workload",
            subject_id=workload.pk,
            data=done,
        )


def _news_of(seen: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what somebody has to hear of at once; the rest, say its traffic, is only written down."""
    pull = seen.get("pull") or {"current": 0, "total": None}
    step = max(1, pull["total"] // PULL_STEPS) if pull["total"] else PULL_STEP_BYTES
    return *(seen.get(name) for name in NEWS), pull["total"], pull["current"] // step


def _is_another_start(workload: Workload, report: WorkloadReport) -> bool:
    """Whether a report tells of another state, incarnation or restart than what was seen before."""
    before = (
        workload.observed_state,
        workload.observed_generation,
        int(workload.observed.get("restarts", 0)),
    )
    return before != (report.state.value, report.generation, report.restarts)
