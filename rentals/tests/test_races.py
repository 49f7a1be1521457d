"""Two renters, one machine, the same instant: on PostgreSQL, with real threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier
from typing import Any

import pytest
import time_machine
from django.db import connection

from accounts import services as accounts
from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from billing.models import Hold
from core import clock, money
from core.errors import Conflict, DomainError
from core.ids import new_id
from hostagent.protocol import WorkloadState
from nodes.models import Allocation, GpuAllocation
from rentals import probing, reconcile, services
from rentals.models import FailedStart, PriceChange, Quote, Rental
from rentals.probing import Sign
from rentals.tests.test_life import Scene
from rentals.tests.test_prices import NEW, NOTICE, OLD, TERM, Priced
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_two_renters_one_wins_and_the_other_gets_409_and_pays_nothing() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"))
    renters = [cast.person("alice", usd=50), cast.person("carol", usd=50)]
    quotes = []
    for renter in renters:
        accounts.add_ssh_key(actor=renter, name="k", public_key=cast.public_ssh_key())
        quotes.append(
            services.quote_offer(actor=renter, offer_id=offer.pk, template_id=cast.template().pk)
        )
    start = Barrier(2)

    def rent(renter: Actor, quote: Quote) -> Rental | Conflict:
        start.wait()
        try:
            return services.request_rental(
                actor=renter, quote_id=quote.pk, ssh_key_ids=None, idempotency_key=str(new_id())
            )
        except Conflict as refused:
            return refused
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(rent, renters, quotes))
    losers = [(r, o) for r, o in zip(renters, outcomes, strict=True) if isinstance(o, Conflict)]
    assert len(losers) == 1
    loser, refused = losers[0]
    assert (refused.code, refused.status) == ("offer_taken", 409)
    assert billing.balance_of(owner_id=loser.user_id).available == 50 * money.NANO
    assert Rental.objects.count() == Allocation.objects.count() == 1
    audit.seal_new()
    assert broken() == []


def test_eight_clicks_with_one_key_make_one_rental() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"))
    alice = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    quote = services.quote_offer(actor=alice, offer_id=offer.pk, template_id=cast.template().pk)
    start = Barrier(8)

    def rent(_: int) -> object:
        start.wait()
        try:
            return services.request_rental(
                actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key="same"
            ).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(rent, range(8)))
    assert len(found) == Rental.objects.count() == 1


def test_one_quote_clicked_with_four_keys_makes_one_rental_and_three_clear_refusals() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"), gpus=4)
    alice = cast.person("alice", usd=50)
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    quote = services.quote_offer(
        actor=alice, offer_id=offer.pk, template_id=cast.template().pk, gpu_count=1
    )
    start = Barrier(4)

    def rent(number: int) -> str:
        start.wait()
        try:
            services.request_rental(
                actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key=f"key {number}"
            )
        except Conflict as refused:
            return refused.code
        finally:
            connection.close()
        return "rented"

    with ThreadPoolExecutor(4) as pool:
        outcomes = Counter(pool.map(rent, range(4)))
    assert outcomes == {"rented": 1, "quote_used": 3}
    assert Rental.objects.count() == Allocation.objects.count() == 1
    audit.seal_new()
    assert broken() == []


def test_of_sixty_four_renters_thirty_two_get_the_thirty_two_cards_and_the_others_pay_nothing() -> (
    None
):
    cast.proxy_server(count=200)
    bob = cast.person("bob")
    offers = [cast.machine(bob, gpus=8, name=f"atlas-{i}")[1] for i in range(4)]
    template = cast.template()
    renters, quotes = [], []
    for i in range(64):
        renter = cast.person(f"renter{i}", usd=50)
        accounts.add_ssh_key(actor=renter, name="k", public_key=cast.public_ssh_key())
        renters.append(renter)
        quotes.append(
            services.quote_offer(
                actor=renter, offer_id=offers[i % 4].pk, template_id=template.pk, gpu_count=1
            )
        )
    start = Barrier(64)

    def rent(renter: Actor, quote: Quote) -> str:
        start.wait()
        try:
            services.request_rental(
                actor=renter, quote_id=quote.pk, ssh_key_ids=None, idempotency_key=str(new_id())
            )
        except Conflict as refused:
            return refused.code
        finally:
            connection.close()
        return "rented"

    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(rent, renters, quotes))
    assert Counter(outcomes) == {"rented": 32, "offer_taken": 32}
    taken = GpuAllocation.objects.filter(released_at=None).values_list("gpu_id", flat=True)
    assert len(taken) == len(set(taken)) == Rental.objects.count() == 32
    for renter, outcome in zip(renters, outcomes, strict=True):
        assert (billing.balance_of(owner_id=renter.user_id).locked > 0) == (outcome == "rented")
    kept = Rental.objects.values_list("compute_hold_id", "storage_hold_id")
    held = Hold.objects.filter(released_at=None).values_list("pk", flat=True)
    assert (len(held), set(held)) == (64, {hold_id for row in kept for hold_id in row})
    audit.seal_new()
    assert broken() == []


def test_a_yes_in_the_second_in_which_the_clock_stops_it_is_taken_or_waits_and_bills_no_second_twice(
    drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    outcomes = set()
    for attempt in range(6):
        with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
            scene = Priced(drain, traveller)
            scene.ask("0.10", "0.20")
            scene.go_to(TERM - NOTICE)
            scene.go_to(TERM + attempt, worker=False)
            change, start = scene.pending(), Barrier(2)
            outcomes.add(_race_of_answer_and_clock(scene, change, start))
            scene.go_to(TERM + 60)
            scene.rental.refresh_from_db()
            worked = {rate: seconds for rate, seconds in scene.lines("compute") if seconds}
            disk = sum(seconds for _, seconds in scene.lines("storage"))
            assert (worked[OLD], disk, scene.rental.compute_rate) == (TERM, TERM + 60, NEW)
            assert worked.get(NEW, 0) == (60 if scene.rental.state == "running" else 0)
            scene.agent.report(scene.link, cast.workload_of(scene.rental), WorkloadState.STOPPED)
            services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    assert outcomes <= {"running", "stopping"}
    audit.seal_new()
    assert broken() == []


def _race_of_answer_and_clock(scene: Priced, change: PriceChange, start: Barrier) -> str:
    def says_yes() -> None:
        start.wait()
        try:
            services.answer_price(
                actor=scene.alice, rental_id=scene.rental.pk, change_id=change.pk, accept=True
            )
        finally:
            connection.close()

    def sweeps() -> None:
        start.wait()
        try:
            reconcile.turn_prices()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(says_yes), pool.submit(sweeps)]:
            done.result()
    scene.rental.refresh_from_db()
    return scene.rental.state


def test_a_restart_beside_the_last_silent_probe_waits_for_the_stop_and_is_refused(
    drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        for _ in range(6):
            scene.pass_time(30)
            _silent(scene)
        scene.pass_time(30)
        outcome = _race_of_restart_and_probe(scene)
        rental = scene.now()
        # It waited for the probe and all that follows from it, and whoever restarts is told so.
        assert (outcome, rental.state) == ("action_not_now", "stopping")
        assert ((rental.end or {})["code"], FailedStart.objects.count()) == ("ssh_silent", 0)
        assert scene.seconds("compute") == 210
    audit.seal_new()
    assert broken() == []


def _silent(scene: Scene) -> None:
    services.note_probe(
        actor=Actor.system(), rental_id=scene.rental.pk, sign=Sign.SILENT, at=clock.now()
    )


def _race_of_restart_and_probe(scene: Scene) -> str:
    """Let a restart come while the probe has written itself down and not let go of the rental yet."""
    restarts: list[Future[str]] = []

    def restart() -> str:
        try:
            services.restart_rental(actor=scene.alice, rental_id=scene.rental.pk)
        except DomainError as refused:
            return refused.code
        finally:
            connection.close()
        return "restarted"

    with ThreadPoolExecutor(1) as pool:

        def meanwhile(
            execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
        ) -> Any:
            done = execute(sql, params, many, context)
            if not restarts and sql.startswith("UPDATE") and "silent_probes" in sql:
                restarts.append(pool.submit(restart))
                for _ in range(500):
                    if wait(restarts, timeout=0.02).done or _somebody_waits_for_us():
                        break
            return done

        with connection.execute_wrapper(meanwhile):
            _silent(scene)
        return restarts[0].result()


def _somebody_waits_for_us() -> bool:
    with connection.connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])
