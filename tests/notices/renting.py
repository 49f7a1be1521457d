"""What makes the notices of rentals."""

from __future__ import annotations

import datetime as dt

from core import clock
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from nodes import tasks as node_tasks
from rentals import services
from rentals.probing import Sign
from tests.notices.money import balance_used_up
from tests.notices.stage import Stage

HOUR, DAY = 3600, 86_400


def running(stage: Stage) -> None:
    stage.running()


def not_started(stage: Stage) -> None:
    stage.rented()
    stage.says(WorkloadState.FAILED, code="image_missing", message="There is no image of that name")
    stage.says(WorkloadState.ABSENT)


def unreachable(stage: Stage) -> None:
    stage.running()
    stage.pass_time(30)
    stage.sign = Sign.CLOSED
    stage.pass_time(30)
    stage.pass_time(30)


def reachable(stage: Stage) -> None:
    unreachable(stage)
    stage.sign = Sign.ANSWERS
    stage.pass_time(30)


def stopped(stage: Stage) -> None:
    stage.stopped()


def failed(stage: Stage) -> None:
    stage.running()
    stage.says(WorkloadState.FAILED, code="oom_killed", message="It used more memory than it has.")


def ended(stage: Stage) -> None:
    stage.running()
    stage.pass_time(600)
    services.end_rental(actor=stage.alice, rental_id=stage.rental.pk)
    stage.drain()
    stage.says(WorkloadState.ABSENT)


def limited(stage: Stage, *, seconds: int | None = None, cap_seconds: int | None = None) -> None:
    stage.running()
    rate = stage.rental.compute_rate + stage.rental.storage_rate
    services.set_limits(
        actor=stage.alice,
        rental_id=stage.rental.pk,
        ends_at=None if seconds is None else clock.now() + dt.timedelta(seconds=seconds),
        spend_cap=None if cap_seconds is None else cap_seconds * rate,
    )


def end_near(stage: Stage) -> None:
    limited(stage, seconds=2 * HOUR)
    stage.pass_time(HOUR)


def end_reached(stage: Stage) -> None:
    limited(stage, seconds=500)
    stage.pass_time(500)


def idle_near(stage: Stage) -> None:
    stage.running()
    services.set_limits(
        actor=stage.alice,
        rental_id=stage.rental.pk,
        ends_at=None,
        spend_cap=None,
        idle_minutes=60,
    )
    stage.says(WorkloadState.RUNNING, idle=True)
    stage.pass_time(50 * 60)
    stage.pass_time(60)


def cap_near(stage: Stage) -> None:
    limited(stage, cap_seconds=1000)
    stage.pass_time(850)


def cap_reached(stage: Stage) -> None:
    limited(stage, cap_seconds=1000)
    stage.pass_time(1100)


def disk_deleted(stage: Stage) -> None:
    balance_used_up(stage)
    stage.pass_time(2 * DAY + 60)
    stage.says(WorkloadState.ABSENT)


def disk_lost(stage: Stage) -> None:
    stage.running()
    stage.says(WorkloadState.ABSENT)


def logs_expiring(stage: Stage) -> None:
    stage.running()
    stage.says(WorkloadState.FAILED, code="container_exited", message="It ended.", logs="bye")
    stage.traveller.shift(27 * DAY + 1)
    node_tasks.forget_logs()
    node_tasks.forget_logs()
    stage.drain()


def restarted(stage: Stage) -> None:
    stage.running()
    services.restart_rental(actor=stage.alice, rental_id=stage.rental.pk)
    stage.drain()


def renewed(stage: Stage) -> None:
    stage.running()
    services.recreate_rental(actor=stage.alice, rental_id=stage.rental.pk, confirmed=True)
    stage.drain()


def keys_changed(stage: Stage) -> None:
    stage.running()
    services.change_keys(actor=stage.alice, rental_id=stage.rental.pk, ssh_key_ids=None)
    stage.drain()


def draining(stage: Stage) -> None:
    stage.running()
    nodes.drain_node(actor=stage.bob, node_id=stage.rental.node_id, draining=True)
    stage.drain()
    nodes.drain_node(actor=stage.bob, node_id=stage.rental.node_id, draining=False)
    stage.drain()


CAUSES = {
    "rental_running": running,
    "rental_not_started": not_started,
    "rental_unreachable": unreachable,
    "rental_reachable": reachable,
    "rental_stopped": stopped,
    "rental_stopped_itself": balance_used_up,
    "rental_failed": failed,
    "rental_ended": ended,
    "end_near": end_near,
    "end_reached": end_reached,
    "idle_near": idle_near,
    "cap_near": cap_near,
    "cap_reached": cap_reached,
    "disk_on_reserve": balance_used_up,
    "disk_deleted": disk_deleted,
    "disk_lost": disk_lost,
    "logs_expiring": logs_expiring,
    "rental_restarted": restarted,
    "rental_renewed": renewed,
    "keys_changed": keys_changed,
    "machine_draining": draining,
}
