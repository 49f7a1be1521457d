"""The price of a rental over its life: locked, told in time, accepted or not, and exact to the second."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import time_machine

from accounts.actors import Actor
from accounts.models import Notice
from audit import services as audit
from audit.models import AuditEvent
from billing import services as billing
from core import clock, money
from core.errors import Conflict, DomainError, Invalid, NotFound
from core.ids import new_id
from core.models import OutboxMessage
from hostagent.protocol import WorkloadState
from nodes import services as nodes
from rentals import probing, reconcile, services
from rentals.models import PriceChange, Rental
from rentals.services.terms import locked_until
from rentals.tests.test_life import Scene
from tests import cast
from tests.invariants import broken

pytestmark = pytest.mark.django_db
HOUR, DAY = 3600, 86_400
TERM, NOTICE = 30 * DAY, 3 * DAY
# 0.05 and 0.10 an hour, and for 10 GB 0.10 and 0.20 a month each, in nano-units a second.
OLD, NEW, LOW = 13_889, 27_778, 8_333
DISK, NEW_DISK = 390, 770


class Priced(Scene):
    """alice's running rental: 13,889 nano a second for work and 390 for its 10 GB, locked for 30 days."""

    def __init__(self, drain: Callable[[], int], traveller: time_machine.Traveller) -> None:
        self.since = clock.epoch()
        super().__init__(drain, traveller, usd=5000)

    def ask(self, hourly: str, monthly: str = "0.10") -> None:
        """bob publishes another price."""
        nodes.set_prices(
            actor=self.bob,
            node_id=self.rental.node_id,
            gpu_hourly=Decimal(0),
            cpu_node_hourly=Decimal(hourly),
            storage_gb_monthly=Decimal(monthly),
        )

    def go_to(self, second: int, *, worker: bool = True) -> Rental:
        """Let the clock show `second` of the rental, its machine beating; the worker may be away."""
        self.traveller.move_to(clock.from_epoch(self.since + second))
        self.agent.beat()
        if worker:
            reconcile.review_prices()
            reconcile.turn_prices()
            reconcile.enforce_limits()
            billing.sweep_exhausted()
            self.drain()
        return self.now()

    def pending(self) -> PriceChange:
        change = services.pending_price(self.rental)
        assert change is not None
        return change

    def answer(self, *, accept: bool, by: Actor | None = None) -> Rental:
        return services.answer_price(
            actor=by or self.alice,
            rental_id=self.rental.pk,
            change_id=self.pending().pk,
            accept=accept,
        )

    def lines(self, kind: str) -> list[tuple[int, int]]:
        """Every stretch of the bill as (rate, seconds)."""
        lines = billing.bill_of(subject_id=self.rental.pk).lines
        return [(line.rate, line.seconds) for line in lines if line.kind == kind]


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Priced]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Priced(drain, traveller)
        yield scene
        audit.seal_new()
        assert broken() == []


def test_a_price_is_locked_for_thirty_days_and_longer_to_a_far_end_date(scene: Priced) -> None:
    assert clock.to_epoch(scene.rental.price_until) == scene.since + TERM
    assert (scene.rental.compute_rate, scene.rental.storage_rate) == (OLD, DISK)
    scene.ask("0.10")
    scene.go_to(10 * DAY)
    assert (scene.lines("compute"), scene.now().compute_rate) == ([(OLD, 10 * DAY)], OLD)


def rent_until(scene: Priced, end: dt.datetime) -> Rental:
    """Rent the machine anew with an end date."""
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    quote = services.quote_offer(
        actor=scene.alice, offer_id=scene.offer.pk, template_id=cast.template().pk
    )
    scene.rental = services.request_rental(
        actor=scene.alice,
        quote_id=quote.pk,
        ssh_key_ids=None,
        idempotency_key="far",
        ends_at=end,
    )
    return scene.rental


def limit(scene: Priced, ends_at: dt.datetime | None) -> dt.datetime:
    """Set another end date, or none; return until when the price is locked then."""
    services.set_limits(
        actor=scene.alice, rental_id=scene.rental.pk, ends_at=ends_at, spend_cap=None
    )
    return scene.now().price_until


def test_a_far_end_dates_longer_lock_goes_with_it_and_does_not_come_back(scene: Priced) -> None:
    began = clock.now().replace(microsecond=0)

    def day(number: int) -> dt.datetime:
        return began + dt.timedelta(days=number)

    rental = rent_until(scene, day(80))
    assert (rental.price_until, rental.price_by_end) == (day(80), True)
    # Later than agreed is no longer locked, sooner is to there, and what is gone is gone.
    assert [limit(scene, day(n)) for n in (85, 60, 70, 200)] == [day(n) for n in (80, 60, 60, 60)]
    assert limit(scene, None) == day(30)
    assert not scene.rental.price_by_end
    assert limit(scene, day(80)) == day(30)


def test_a_far_end_that_comes_near_leaves_the_usual_term(scene: Priced) -> None:
    began = clock.now().replace(microsecond=0)
    rent_until(scene, began + dt.timedelta(days=80))
    assert limit(scene, began + dt.timedelta(days=2)) == began + dt.timedelta(days=30)


def test_an_end_that_is_removed_after_the_usual_term_gives_the_whole_notice(scene: Priced) -> None:
    far = scene.rental.created_at.replace(microsecond=0) + dt.timedelta(days=80)
    Rental.objects.filter(pk=scene.rental.pk).update(
        price_until=far, ends_at=far, price_by_end=True
    )
    scene.ask("0.10", "0.20")
    scene.go_to(40 * DAY)
    now = clock.now().replace(microsecond=0)
    assert limit(scene, None) == now
    services.review_price(actor=scene.alice, rental_id=scene.rental.pk)
    told = services.pending_price(scene.now())
    assert told is not None
    assert (told.at_term, told.starts_at) == (True, now + dt.timedelta(seconds=NOTICE))
    assert (scene.rental.state, scene.rental.price_until) == ("running", told.starts_at)
    # What has been told keeps its day.
    assert limit(scene, None) == told.starts_at


def test_the_lock_of_a_later_term_belongs_to_no_end_date(scene: Priced) -> None:
    scene.go_to(TERM + DAY)
    until = scene.now().price_until
    assert until > scene.rental.created_at + dt.timedelta(seconds=TERM)
    assert limit(scene, until) == until
    assert limit(scene, None) == until


def test_an_end_date_named_when_renting_locks_the_price_up_to_ninety_days(scene: Priced) -> None:
    now = clock.now().replace(microsecond=0)
    assert locked_until(now, now + dt.timedelta(days=2)) == now + dt.timedelta(days=30)
    assert locked_until(now, now + dt.timedelta(days=60)) == now + dt.timedelta(days=60)
    assert locked_until(now, now + dt.timedelta(days=200)) == now + dt.timedelta(days=90)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.ABSENT)
    quote = services.quote_offer(
        actor=scene.alice, offer_id=scene.offer.pk, template_id=cast.template().pk
    )

    def rent(key: str, end: dt.datetime) -> Rental:
        return services.request_rental(
            actor=scene.alice,
            quote_id=quote.pk,
            ssh_key_ids=None,
            idempotency_key=key,
            ends_at=end,
        )

    for wrong in (now, now + dt.timedelta(days=366)):
        with pytest.raises(Invalid) as refused:
            rent("a", wrong)
        assert refused.value.code == "ends_at_range"
    assert Rental.objects.count() == 1
    end = now + dt.timedelta(days=60)
    rental = rent("b", end)
    assert (rental.ends_at, rental.price_until) == (end, end)


def test_extending_the_end_date_inside_the_lock_keeps_price_and_lock(scene: Priced) -> None:
    scene.ask("0.10")
    until = scene.rental.price_until
    for days in (5, 20):
        end = clock.now() + dt.timedelta(days=days)
        services.set_limits(
            actor=scene.alice, rental_id=scene.rental.pk, ends_at=end, spend_cap=None
        )
        assert (scene.now().compute_rate, scene.rental.price_until) == (OLD, until)


def test_stopping_and_starting_keeps_the_locked_price(scene: Priced) -> None:
    scene.ask("0.10", "0.20")
    scene.stopped()
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    scene.go_to(HOUR)
    assert scene.rental.state == "running"
    assert [line for line in scene.lines("compute") if line[1]] == [(OLD, HOUR)]
    assert {rate for rate, _ in scene.lines("storage")} == {DISK}


def test_a_higher_price_is_told_three_days_before_the_lock_ends_with_both_prices(
    scene: Priced,
) -> None:
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE - 1)
    assert services.pending_price(scene.rental) is None
    rental = scene.go_to(TERM - NOTICE)
    change = scene.pending()
    assert (change.old_compute_rate, change.old_storage_rate) == (OLD, DISK)
    assert (change.compute_rate, change.storage_rate) == (NEW, NEW_DISK)
    assert (change.state, change.at_term) == ("proposed", True)
    assert change.starts_at == rental.price_until == clock.from_epoch(scene.since + TERM)
    scene.go_to(TERM - NOTICE + 600)
    assert PriceChange.objects.count() == 1


@pytest.mark.parametrize("rolled", [None, TERM - HOUR, TERM + 1800])
def test_an_accepted_price_holds_from_the_second_the_lock_ends(
    scene: Priced, rolled: int | None
) -> None:
    """Whether meters were posted before, after or never: no second is lost and none is billed twice."""
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE)
    scene.answer(accept=True)
    assert scene.now().compute_rate == OLD
    if rolled is not None:
        scene.go_to(rolled + 60, worker=False)
        billing.roll_up()
    rental = scene.go_to(TERM + HOUR)
    assert (rental.compute_rate, rental.storage_rate) == (NEW, NEW_DISK)
    assert clock.to_epoch(rental.price_since) == scene.since + TERM
    assert clock.to_epoch(rental.price_until) == scene.since + 2 * TERM
    assert scene.lines("compute") == [(OLD, TERM), (NEW, HOUR)]
    assert scene.lines("storage") == [(DISK, TERM), (NEW_DISK, HOUR)]
    total = (OLD + DISK) * TERM + (NEW + NEW_DISK) * HOUR
    assert billing.bill_of(subject_id=rental.pk).total == total
    spent = 5000 * money.NANO - billing.balance_of(owner_id=scene.alice.user_id).total
    assert spent == total
    assert PriceChange.objects.get().state == "applied"
    assert services.pending_price(rental) is None
    events = AuditEvent.objects.filter(subject_id=rental.pk, verb="rental.price_changed")
    [event] = events
    assert (event.data["from"], event.data["to"]) == ([OLD, DISK], [NEW, NEW_DISK])


def test_the_reserve_of_the_disk_grows_with_its_price_when_the_balance_allows(
    scene: Priced,
) -> None:
    scene.ask("0.05", "0.20")
    scene.go_to(TERM - NOTICE)
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == DISK * 48 * HOUR
    scene.answer(accept=True)
    scene.go_to(TERM)
    assert billing.balance_of(owner_id=scene.alice.user_id).locked == NEW_DISK * 48 * HOUR


@pytest.mark.parametrize("refused", [False, True])
def test_silence_or_a_no_stops_it_at_the_second_the_lock_ends_and_keeps_the_disk(
    scene: Priced, refused: bool
) -> None:
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE)
    if refused:
        scene.answer(accept=False)
    rental = scene.go_to(TERM + 30)
    assert (rental.state, rental.compute_rate) == ("stopping", OLD)
    end = rental.end or {}
    assert (end["code"], end["party"], end["fault"]) == ("price_not_accepted", "renter", "none")
    assert scene.lines("compute") == [(OLD, TERM)]
    rental = scene.says(WorkloadState.STOPPED)
    assert (rental.state, cast.workload_of(rental).wish) == ("stopped", "stopped")
    scene.go_to(TERM + DAY)
    assert scene.lines("storage") == [(DISK, TERM + DAY)]


def test_a_rental_stopped_for_its_price_starts_only_when_the_price_is_accepted(
    scene: Priced,
) -> None:
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE)
    scene.go_to(TERM)
    scene.says(WorkloadState.STOPPED)
    scene.go_to(TERM + HOUR)
    for verb in (services.start_rental, _recreate):
        with pytest.raises(Conflict) as no:
            verb(actor=scene.alice, rental_id=scene.rental.pk)
        assert no.value.code == "price_not_accepted"
        assert no.value.data["change_id"] == str(scene.pending().pk)
        assert "$0.103 an hour" in no.value.message
    assert scene.now().state == "stopped"
    scene.answer(accept=True)
    services.start_rental(actor=scene.alice, rental_id=scene.rental.pk)
    scene.says(WorkloadState.STARTING, WorkloadState.RUNNING)
    rental = scene.go_to(TERM + 2 * HOUR)
    assert rental.state == "running"
    assert clock.to_epoch(rental.price_until) == scene.since + 2 * TERM + HOUR
    assert scene.lines("compute") == [(OLD, TERM), (NEW, HOUR)]
    assert scene.lines("storage") == [(DISK, TERM + HOUR), (NEW_DISK, HOUR)]


def _recreate(*, actor: Actor, rental_id: uuid.UUID) -> Rental:
    return services.recreate_rental(actor=actor, rental_id=rental_id, confirmed=True)


def test_what_stands_still_for_its_price_is_asked_for_todays_price(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    first = scene.pending()
    scene.go_to(TERM)
    scene.says(WorkloadState.STOPPED)
    scene.ask("0.20")
    scene.go_to(TERM + DAY)
    change = scene.pending()
    assert (change.pk != first.pk, change.compute_rate) == (True, 55_556)
    with pytest.raises(Conflict) as closed:
        services.answer_price(
            actor=scene.alice, rental_id=scene.rental.pk, change_id=first.pk, accept=True
        )
    assert closed.value.code == "price_closed"
    scene.ask("0.03")
    rental = scene.go_to(TERM + 2 * DAY)
    assert (services.pending_price(rental), rental.compute_rate) == (None, LOW)
    services.start_rental(actor=scene.alice, rental_id=rental.pk)
    assert scene.now().state == "starting"


@pytest.mark.parametrize(("hourly", "rate"), [("0.05", OLD), ("0.03", LOW)])
def test_a_price_that_is_not_higher_renews_silently_for_another_term(
    scene: Priced, hourly: str, rate: int
) -> None:
    scene.ask(hourly)
    scene.go_to(TERM - NOTICE)
    assert services.pending_price(scene.rental) is None
    rental = scene.go_to(TERM + 60)
    assert (rental.state, rental.compute_rate) == ("running", rate)
    assert clock.to_epoch(rental.price_until) == scene.since + 2 * TERM
    billed = [(OLD, TERM + 60)] if rate == OLD else [(OLD, TERM), (LOW, 60)]
    assert scene.lines("compute") == billed
    assert scene.lines("storage")[0][0] == DISK
    verb = "rental.price_renewed" if rate == OLD else "rental.price_changed"
    assert AuditEvent.objects.filter(subject_id=rental.pk, verb=verb).count() == 1


def test_a_price_that_was_told_can_fall_and_never_rise(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    scene.ask("0.20")
    scene.go_to(TERM - NOTICE + HOUR)
    assert scene.pending().compute_rate == NEW
    scene.ask("0.08")
    scene.go_to(TERM - NOTICE + 2 * HOUR)
    assert (scene.pending().compute_rate, scene.pending().state) == (22_222, "proposed")
    scene.answer(accept=True)
    scene.ask("0.06")
    rental = scene.go_to(TERM)
    assert rental.compute_rate == 16_667
    assert PriceChange.objects.filter(state="lapsed").count() == 1


def test_a_proposal_lapses_when_the_host_asks_no_more_than_before(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    scene.ask("0.05")
    rental = scene.go_to(TERM - HOUR)
    assert services.pending_price(rental) is None
    rental = scene.go_to(TERM + HOUR)
    assert (rental.state, rental.compute_rate) == ("running", OLD)


def test_a_raise_of_the_last_hours_gives_the_full_notice_all_the_same(scene: Priced) -> None:
    scene.go_to(TERM - HOUR)
    scene.ask("0.10")
    rental = scene.go_to(TERM - 1800)
    told = scene.since + TERM - 1800 + NOTICE
    assert clock.to_epoch(rental.price_until) == clock.to_epoch(scene.pending().starts_at) == told
    assert scene.go_to(TERM + HOUR).compute_rate == OLD
    scene.answer(accept=True)
    scene.go_to(TERM - 1800 + NOTICE + 100)
    assert scene.lines("compute") == [(OLD, TERM - 1800 + NOTICE), (NEW, 100)]


def test_a_worker_that_was_away_when_the_lock_ended_gives_the_notice_afterwards(
    scene: Priced,
) -> None:
    scene.ask("0.10")
    rental = scene.go_to(TERM + 6 * HOUR)
    assert (rental.state, rental.compute_rate) == ("running", OLD)
    assert clock.to_epoch(scene.pending().starts_at) == scene.since + TERM + 6 * HOUR + NOTICE
    assert scene.lines("compute") == [(OLD, TERM + 6 * HOUR)]


def test_a_renter_may_think_again_until_the_price_holds(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    scene.answer(accept=False)
    scene.answer(accept=True)
    scene.answer(accept=True)
    assert scene.pending().state == "accepted"
    accepted = AuditEvent.objects.filter(verb="rental.raise_accepted")
    assert accepted.count() == 1
    change = scene.pending()
    scene.go_to(TERM + 1, worker=False)
    with pytest.raises(Conflict) as over:
        scene.answer(accept=False)
    assert over.value.code == "price_closed"
    scene.go_to(TERM + 10)
    services.answer_price(
        actor=scene.alice, rental_id=scene.rental.pk, change_id=change.pk, accept=True
    )
    assert scene.now().compute_rate == NEW


def test_a_yes_that_comes_before_the_clock_counts_from_the_locks_end(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    scene.go_to(TERM + 3, worker=False)
    scene.answer(accept=True)
    scene.go_to(TERM + 100)
    assert scene.lines("compute") == [(OLD, TERM), (NEW, 100)]


def test_a_yes_after_the_end_that_the_clock_has_not_carried_out_yet_changes_nothing(
    scene: Priced,
) -> None:
    """Found by random lives: the meters of the old price would be closed behind the end, and stay billed."""
    raised(scene, "0.10", "0.10")
    end = clock.from_epoch(scene.since + 60)
    services.set_limits(
        actor=scene.alice, rental_id=scene.rental.pk, ends_at=end, spend_cap=None, idle_minutes=None
    )
    scene.go_to(200, worker=False)
    with pytest.raises(Conflict, match="nothing was changed") as refused:
        scene.answer(accept=True)
    assert refused.value.code == "action_not_now"
    assert scene.pending().answered_at is None
    scene.go_to(201)
    assert scene.lines("compute") == [(OLD, 60)]


def test_a_yes_after_an_end_that_the_machine_has_told_and_nobody_has_handled_changes_nothing(
    scene: Priced,
) -> None:
    """Found by random lives: the seconds up to the yes would stay billed, though nothing ran."""
    raised(scene, "0.10", "0.10")
    scene.go_to(50, worker=False)
    failed = WorkloadState.FAILED
    scene.agent.report(scene.link, cast.workload_of(scene.rental), failed, code="container_exited")
    scene.go_to(200, worker=False)
    with pytest.raises(Conflict, match="no longer runs"):
        scene.answer(accept=True)
    scene.go_to(201)
    assert scene.lines("compute") == [(OLD, 50)]


def test_nobody_else_answers_and_nothing_changes(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    for who in (scene.bob, cast.person("carol")):
        with pytest.raises(NotFound):
            scene.answer(accept=True, by=who)
    with pytest.raises(NotFound) as unknown:
        services.answer_price(
            actor=scene.alice, rental_id=scene.rental.pk, change_id=new_id(), accept=True
        )
    assert unknown.value.code == "price_unknown"
    assert (scene.pending().state, scene.pending().answered_at) == ("proposed", None)


def test_a_host_asks_for_a_raise_inside_the_lock_and_it_needs_consent(scene: Priced) -> None:
    change = raised(scene, "0.10", "0.10")
    assert (change.at_term, scene.now().compute_rate) == (False, OLD)
    with pytest.raises(Conflict) as twice:
        raised(scene, "0.20", "0.10")
    assert twice.value.code == "raise_pending"
    scene.go_to(HOUR)
    scene.answer(accept=True)
    rental = scene.go_to(2 * HOUR)
    assert scene.lines("compute") == [(OLD, HOUR), (NEW, HOUR)]
    assert clock.to_epoch(rental.price_until) == scene.since + TERM


def raised(scene: Priced, hourly: str, monthly: str, by: Actor | None = None) -> PriceChange:
    return services.offer_raise(
        actor=by or scene.bob,
        rental_id=scene.rental.pk,
        compute_hourly=Decimal(hourly),
        storage_gb_monthly=Decimal(monthly),
    )


def test_a_raise_that_nobody_answers_or_that_is_refused_changes_nothing(scene: Priced) -> None:
    raised(scene, "0.10", "0.10")
    scene.answer(accept=False)
    assert services.pending_price(scene.rental) is None
    for waited in (0, NOTICE - 1):
        scene.go_to(waited)
        before = PriceChange.objects.count(), OutboxMessage.objects.count()
        with pytest.raises(Conflict, match="refused a raise lately") as again:
            raised(scene, "0.10", "0.10")
        assert again.value.code == "raise_refused_lately"
        assert (PriceChange.objects.count(), OutboxMessage.objects.count()) == before
    scene.go_to(NOTICE)
    change = raised(scene, "0.10", "0.10")
    scene.go_to(2 * NOTICE + 1)
    change.refresh_from_db()
    assert change.state == "lapsed"
    with pytest.raises(Conflict) as late:
        services.answer_price(
            actor=scene.alice, rental_id=scene.rental.pk, change_id=change.pk, accept=True
        )
    assert late.value.code == "price_closed"
    assert scene.lines("compute") == [(OLD, 2 * NOTICE + 1)]


def test_a_raise_is_refused_to_strangers_when_it_is_none_and_when_it_makes_no_sense(
    scene: Priced,
) -> None:
    for who, hourly, monthly, code in (
        (cast.person("carol"), "0.10", "0.10", "rental_unknown"),
        (scene.alice, "0.10", "0.10", "rental_unknown"),
        (scene.bob, "0.05", "0.10", "price_not_higher"),
        (scene.bob, "0.03", "0.05", "price_not_higher"),
        (scene.bob, "NaN", "0.10", "price_range"),
        (scene.bob, "0.10", "1001", "price_range"),
    ):
        with pytest.raises(DomainError) as refused:
            raised(scene, hourly, monthly, by=who)
        assert refused.value.code == code
    assert not PriceChange.objects.exists()
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    with pytest.raises(Conflict) as ended:
        raised(scene, "0.10", "0.10")
    assert ended.value.code == "action_not_now"


def test_the_question_of_the_next_term_replaces_the_hosts_own(scene: Priced) -> None:
    scene.go_to(TERM - NOTICE - DAY)
    first = raised(scene, "0.08", "0.10")
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    first.refresh_from_db()
    assert (first.state, scene.pending().compute_rate) == ("lapsed", NEW)


def test_an_end_of_the_renter_before_the_locks_end_comes_first(scene: Priced) -> None:
    scene.ask("0.10")
    end = clock.from_epoch(scene.since + TERM - 60)
    services.set_limits(actor=scene.alice, rental_id=scene.rental.pk, ends_at=end, spend_cap=None)
    scene.go_to(TERM - NOTICE)
    scene.answer(accept=True)
    rental = scene.go_to(TERM + HOUR)
    assert (rental.end or {})["code"] == "end_reached"
    assert scene.lines("compute") == [(OLD, TERM - 60)]
    rental = scene.go_to(TERM + HOUR)
    assert rental.compute_rate == NEW


def test_a_cap_that_is_reached_before_the_locks_end_is_reached_at_the_old_price(
    scene: Priced,
) -> None:
    scene.ask("0.10")
    cap = (OLD + DISK) * (TERM - 100)
    services.set_limits(actor=scene.alice, rental_id=scene.rental.pk, ends_at=None, spend_cap=cap)
    scene.go_to(TERM - NOTICE)
    scene.answer(accept=True)
    rental = scene.go_to(TERM + 300)
    assert (rental.end or {})["code"] == "cap_reached"
    assert scene.lines("compute") == [(OLD, TERM - 100)]


def test_a_gap_over_the_change_is_billed_at_the_price_of_each_second(scene: Priced) -> None:
    """Lost at TERM - 100, back at TERM - 50, and nobody noticed before the price had changed."""
    scene.ask("0.10", "0.20")
    scene.go_to(TERM - NOTICE)
    scene.answer(accept=True)
    scene.go_to(TERM - 100)
    at = scene.since + TERM
    services.pause_billing(actor=Actor.system(), rental_id=scene.rental.pk, at=at - 100)
    rental = scene.go_to(TERM + 10)
    assert (rental.compute_rate, rental.compute_meter_id) == (NEW, None)
    services.resume_billing(actor=Actor.system(), rental_id=rental.pk, at=at - 50)
    scene.go_to(TERM + 100)
    assert [line for line in scene.lines("compute") if line[1]] == [
        (OLD, TERM - 100),
        (OLD, 50),
        (NEW, 100),
    ]
    assert [line for line in scene.lines("storage") if line[1]] == [
        (DISK, TERM - 100),
        (DISK, 50),
        (NEW_DISK, 100),
    ]


def test_a_price_of_nothing_has_no_meter_and_gets_one_when_it_costs(scene: Priced) -> None:
    scene.ask("0.05", "0")
    scene.go_to(TERM)
    assert (scene.now().storage_rate, scene.rental.storage_meter_id) == (0, None)
    scene.ask("0.05", "0.20")
    scene.go_to(2 * TERM - NOTICE)
    scene.answer(accept=True)
    scene.go_to(2 * TERM + 50)
    assert scene.lines("storage") == [(DISK, TERM), (NEW_DISK, 50)]


def test_what_ended_has_no_price_to_answer(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
    with pytest.raises(Conflict) as ended:
        scene.answer(accept=True)
    assert ended.value.code == "action_not_now"
    scene.says(WorkloadState.ABSENT)
    scene.go_to(TERM - NOTICE + 600)
    assert PriceChange.objects.get().state == "lapsed"
    assert not Rental.objects.price_unsettled().exists()


def test_what_waits_for_its_renter_is_not_looked_at_every_second(scene: Priced) -> None:
    scene.ask("0.10")
    scene.go_to(TERM - NOTICE)
    scene.go_to(TERM)
    scene.says(WorkloadState.STOPPED)
    assert not Rental.objects.price_due().exists()
    scene.ask("0.10")
    assert Rental.objects.price_unsettled().count() == 1


def test_a_price_that_goes_up_and_down_is_not_mailed_each_time(scene: Priced) -> None:
    for step in range(12):
        # Every ten minutes: up, back, up, back ...
        scene.ask("0.10" if step % 2 == 0 else "0.05")
        scene.go_to(TERM - NOTICE + 600 * (step + 1))
    told = Notice.objects.filter(user_id=scene.alice.user_id, code="price_next_term")
    assert (told.count() > 3, told.exclude(mail="none").count()) == (True, 1)
