"""What makes the notices of machines."""

from __future__ import annotations

import pytest

from core.errors import Conflict
from core.ids import new_id
from hostagent.protocol import SelfTestResult
from nodes import gateway
from tests import cast
from tests.notices.renting import ended, running
from tests.notices.stage import Stage


def online(stage: Stage) -> None:
    stage.machine()


def offline(stage: Stage) -> None:
    stage.machine()
    stage.silence(60)


def back(stage: Stage) -> None:
    offline(stage)
    stage.hello()


def check_failed(stage: Stage) -> None:
    stage.machine()
    failing = SelfTestResult(
        check="firewall",
        passed=False,
        severity="refuse",
        measured="no nft",
        required="nft 1.0",
        remedy="Install nftables.",
    )
    stage.hello(checks=[failing])
    stage.hello(checks=[failing])


def disk_low(stage: Stage) -> None:
    stage.machine()
    stage.agent.facts = cast.facts(disk_gb=0)
    stage.hello()


def listed(stage: Stage) -> None:
    check_failed(stage)
    stage.hello()


def cloned(stage: Stage) -> None:
    stage.machine()
    stage.agent.instance_id = new_id().hex
    link = stage.agent.dial()
    with pytest.raises(Conflict):
        gateway.handle(link, stage.agent.hello(link))
    stage.drain()


CAUSES = {
    "machine_online": online,
    "machine_offline": offline,
    "machine_back": back,
    "machine_check_failed": check_failed,
    "machine_disk_low": disk_low,
    "machine_listed": listed,
    "machine_cloned": cloned,
    "machine_rented": running,
    "machine_rental_over": ended,
}
