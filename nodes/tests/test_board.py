"""The board of a process keeps up with the database: nothing that commits late is missed, nothing needless is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import override_settings

from nodes.market import Offer
from nodes.search import board
from nodes.search.columns import ROW, Snapshot
from nodes.search.finding import find
from nodes.search.query import Query, parse
from tests import cast
from tests.markets import fill_market


def rates() -> dict[int, int]:
    """Return what the board says each offer costs, by its number."""
    rows = board.look()
    return dict(zip(rows["number"].tolist(), rows["compute_rate"].tolist(), strict=True))


def market(machines: int) -> list[Offer]:
    fill_market(machines)
    return list(Offer.objects.order_by("number"))


def reprice(offer: Offer, rate: int) -> None:
    Offer.objects.filter(pk=offer.pk).update(compute_rate=rate)


@pytest.fixture
def other() -> Iterator[Any]:
    """Another process's connection."""
    theirs = connection.copy()
    yield theirs
    theirs.close()


@pytest.mark.django_db(transaction=True)
def test_who_wrote_first_and_commits_last_is_not_missed(other: Any) -> None:
    slow, quick = market(2)
    board.look()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("UPDATE nodes_offer SET compute_rate = 7 WHERE id = %s", [slow.pk])
    for rate in (8, 9):
        reprice(quick, rate)
        assert rates() == {slow.number: slow.compute_rate, quick.number: rate}
    other.commit()
    assert rates() == {slow.number: 7, quick.number: 9}


@pytest.mark.django_db(transaction=True)
def test_writers_who_commit_in_any_order_while_others_look_are_all_seen_in_the_end() -> None:
    offers = market(8)
    stop = threading.Event()

    def write(offer: Offer) -> None:
        for rate in range(1, 40):
            with transaction.atomic():
                reprice(offer, rate)
                if rate % 3 == offer.number % 3:  # type: ignore[operator]
                    reprice(offer, rate + 1000)
                    transaction.set_rollback(rate % 2 == 0)
        connection.close()

    def watch() -> None:
        while not stop.is_set():
            board.look()
        connection.close()

    run_all([partial(write, offer) for offer in offers], [watch, watch], stop)
    assert rates() == dict(Offer.objects.values_list("number", "compute_rate"))


def run_all(
    work: list[Callable[[], None]], beside: list[Callable[[], None]], stop: threading.Event
) -> None:
    watchers = [threading.Thread(target=each) for each in beside]
    workers = [threading.Thread(target=each) for each in work]
    for thread in (*watchers, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    for thread in watchers:
        thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_look_that_finds_nothing_new_reads_no_row_and_keeps_the_answers() -> None:
    [offer] = market(1)
    reprice(offer, 5)
    first, answer = board.look(), board.search(Query())
    rows_read.clear()
    with connection.execute_wrapper(counted):
        assert board.look() is first
    assert rows_read == [0]
    assert board.search(Query()) is answer
    Offer.objects.filter(pk=offer.pk).update(updated_at=offer.updated_at)
    assert board.look() is first
    reprice(offer, 6)
    assert board.look() is not first
    assert board.search(Query()) is not answer


@pytest.mark.django_db(transaction=True)
def test_stamps_of_the_cluster_that_was_restored_are_not_read_again_and_again() -> None:
    restored, touched = market(2)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE nodes_offer DISABLE TRIGGER nodes_offer_stamp")
        cursor.execute("UPDATE nodes_offer SET changed_seq = 10::bigint ^ 15")
        cursor.execute("ALTER TABLE nodes_offer ENABLE TRIGGER nodes_offer_stamp")
    assert len(rates()) == 2
    reprice(touched, 5)
    rows_read.clear()
    with connection.execute_wrapper(counted):
        assert rates() == {restored.number: restored.compute_rate, touched.number: 5}
    assert rows_read == [1]


rows_read: list[int] = []


def counted(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    result = run(sql, params, many, context)
    if "nodes_offer" in sql:
        rows_read.append(context["cursor"].rowcount)
    return result


@pytest.mark.django_db(transaction=True)
def test_a_look_is_as_old_as_the_setting_allows_and_no_older() -> None:
    [offer] = market(1)
    number = offer.number or 0
    with override_settings(DC=_patient()):
        assert rates()[number] == offer.compute_rate
        reprice(offer, 5)
        assert rates()[number] == offer.compute_rate
    assert rates()[number] == 5


def _patient() -> Any:
    return type("Patient", (), {"search_seconds": 60})()


@pytest.mark.django_db(transaction=True)
def test_while_one_thread_looks_the_others_go_on_with_what_they_have() -> None:
    [offer] = market(1)
    number = offer.number or 0
    board.look()
    reprice(offer, 5)
    inside, go_on = threading.Event(), threading.Event()

    def slowly(run: Callable[..., Any], *args: Any) -> Any:
        inside.set()
        assert go_on.wait(10)
        return run(*args)

    def look() -> None:
        with connection.execute_wrapper(slowly):
            board.look()
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    assert inside.wait(10)
    assert rates()[number] == offer.compute_rate
    go_on.set()
    thread.join()
    assert rates()[number] == 5


@pytest.mark.django_db
def test_an_offer_is_hidden_and_never_deleted_so_that_no_board_keeps_what_is_gone() -> None:
    [offer] = market(1)
    with pytest.raises(IntegrityError, match="rows of nodes_offer last"), transaction.atomic():
        offer.delete()
    assert Offer.objects.exists()


@pytest.mark.django_db
def test_a_snapshot_that_somebody_holds_does_not_change_under_them() -> None:
    one, *_ = market(3)
    held = board.look()
    before = (held.size, held["compute_rate"].tolist(), held["gpu_model"].tolist())
    reprice(one, 1)
    cast.machine(cast.person("bob"), gpus=1)
    later = board.look()
    assert (held.size, held["compute_rate"].tolist(), held["gpu_model"].tolist()) == before
    assert (later.size, rates()[one.number or 0]) == (4, 1)


@pytest.mark.django_db
def test_what_a_filter_said_before_is_not_said_again_of_rows_that_changed_or_came() -> None:
    cards = {"listed": True, "hidden_because": "", "gpu_total": 1, "gpu_free": 1}
    first, second, late = market(3)
    Offer.objects.filter(pk__in=[first.pk, second.pk]).update(cpu_cores=64, os="a", **cards)
    Offer.objects.filter(pk=late.pk).update(cpu_cores=1, os="a", **cards)
    asked = parse({"cpu_cores_min": ["64"], "os": ["a"]}.items())
    before = board.look()
    assert board.search(asked).total == 2
    Offer.objects.filter(pk=first.pk).update(os="b")
    assert board.search(asked).total == 1
    Offer.objects.filter(pk=late.pk).update(cpu_cores=64)
    assert board.search(asked).total == 2
    assert find(before, asked).total == 2
    Offer.objects.filter(pk=late.pk).update(gpu_free=0)
    assert board.search(asked).total == 1
    Offer.objects.update(cpu_cores=64, os="a", **cards)
    rows = list(Offer.objects.values_list(*ROW))
    fewer = Snapshot().applied(rows[:2])
    assert find(fewer, asked).total == 2
    assert find(fewer.applied(rows[2:]), asked).total == 3
    assert find(fewer, asked).total == 2


@pytest.mark.django_db
def test_what_was_counted_of_everything_is_kept_while_only_prices_change() -> None:
    cards = {"listed": True, "hidden_because": "", "gpu_total": 2, "gpu_free": 2, "disk_gb": 100}
    market(3)
    Offer.objects.update(os="a", country="NO", cpu_cores=8, **cards)
    one = Offer.objects.order_by("number")[0]
    fit, unfit = ({"os": ["a"]}, {"os": ["a"], "cpu_cores_min": ["9"]})

    def told(asked: dict[str, list[str]], **more: str) -> tuple[int, Any, Any]:
        answer = board.search(parse({**asked, **{k: [v] for k, v in more.items()}}.items()))
        return answer.total, answer.facets["country"], answer.without

    counts = board.look().counts
    assert told(fit) == (3, [{"value": "NO", "count": 3}], [])
    assert told(unfit) == (0, [], [{"name": "cpu_cores", "total": 3}])
    reprice(one, 3_000_000_000)
    # 10.80 an hour: only who asks for prices sees another count.
    assert told(fit, price_hourly_min="10.8")[:2] == (1, [{"value": "NO", "count": 1}])
    assert told(unfit, price_hourly_min="10.8")[2] == [{"name": "cpu_cores", "total": 1}]
    assert told(fit, sort="ready") == (3, [{"value": "NO", "count": 3}], [])
    assert board.look().counts is counts
    Offer.objects.filter(pk=one.pk).update(gpu_free=0)
    assert told(fit) == (2, [{"value": "NO", "count": 2}], [])
    assert told(unfit)[2] == [{"name": "cpu_cores", "total": 2}]
    assert board.look().counts is not counts
    Offer.objects.filter(pk=one.pk).update(gpu_free=1, country="DE")
    assert told(fit)[1] == [{"value": "NO", "count": 2}, {"value": "DE", "count": 1}]


@pytest.mark.django_db
def test_words_that_no_row_has_any_more_are_dropped_when_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [offer] = market(1)
    monkeypatch.setattr(board, "SPARE_WORDS", 20)
    held = []
    for turn in range(40):
        Offer.objects.filter(pk=offer.pk).update(os=f"made up {turn}")
        held.append(board.look().words_held)
    assert max(held) <= 20 + 4 + 1
    assert (
        board.search(Query(gpus=None)).total
        == Offer.objects.filter(listed=True, gpu_free__gt=0).count()
    )


@pytest.mark.django_db
def test_answers_are_forgotten_when_they_are_too_many_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market(12)
    first, *others = [parse({"hours": [str(hours)]}.items()) for hours in range(1, 7)]
    kept = board.search(first)
    assert len(kept.json) > 100
    assert board.search(first) is kept
    monkeypatch.setattr(board, "MOST_BYTES", 4 * len(kept.json))
    for each in others:
        assert board.search(each).json
    again = board.search(first)
    assert again is not kept
    assert again.json == kept.json


def test_an_empty_market_has_an_empty_answer() -> None:
    assert Snapshot().applied([]).size == 0
