"""What locks two things locks them in the order of everybody else: nobody waits for each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest
from django.db import connection

from billing import services
from billing.models import Deposit
from billing.providers import SavedMethod
from billing.services import returns, topups
from billing.services.declines import stop_filling
from billing.services.wallets import wallet_of
from billing.tests.payments import PAID, USD, asked, paid, send
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("with_stripe")]


def test_a_return_and_a_top_up_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, dora = cast.person("alice"), cast.person("dora", is_staff=True)
    deposit = asked(alice)
    assert send(PAID, paid(deposit)) == (200, "credited")
    rule = services.set_auto_top_up(
        actor=alice,
        saved=SavedMethod("c", "m"),
        threshold=50 * USD,
        amount=20 * USD,
        month_max=60 * USD,
    )
    both = threading.Barrier(2, timeout=5)

    def meet() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()

    def stops(*a: object, **k: object) -> None:
        meet()
        stop_filling(*a, **k)  # type: ignore[arg-type]

    def wallets(*a: object, **k: object) -> object:
        meet()
        return wallet_of(*a, **k)  # type: ignore[arg-type]

    monkeypatch.setattr(returns, "stop_filling", stops)
    monkeypatch.setattr(topups, "wallet_of", wallets)
    wrong: list[BaseException] = []

    def run(what: Callable[[], object]) -> threading.Thread:
        def work() -> None:
            try:
                what()
            except BaseException as error:
                wrong.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    threads = [
        run(lambda: services.return_deposit(
            actor=dora, deposit_id=deposit.pk, amount=None, reason="asked", idempotency_key=str(new_id())
        )),
        run(lambda: services.begin_top_up(rule_id=rule.pk)),
    ]  # fmt: skip
    for thread in threads:
        thread.join(30)
    assert wrong == []
    # What was begun a moment before is not charged any more.
    for begun in Deposit.objects.filter(auto=True):
        assert services.method_to_charge(deposit_id=begun.pk) is None
