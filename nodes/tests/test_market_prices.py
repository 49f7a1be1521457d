"""The price of a model is what hosts ask, each with one voice, and no single one of them makes it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
import time_machine

from accounts.actors import Actor
from core import clock
from nodes import queries, services
from nodes.market import ModelPrice, Offer
from nodes.models import SmartPrice
from tests import cast

pytestmark = pytest.mark.django_db


def asks(host: Actor, rate: int, *, gpus: int = 4, name: str = "atlas-03") -> Offer:
    """List a machine of this host whose cards ask so many nano-units a second."""
    _, offer = cast.machine(host, gpus=gpus, name=name)
    Offer.objects.filter(pk=offer.pk).update(compute_rate=rate)
    return offer


def noted(model: str = "RTX 4090") -> tuple[int, ...]:
    """Look at the prices, and return (free, hosts, p10, p50, p90) of this hour."""
    services.note_prices()
    row = ModelPrice.objects.get(gpu_model=model)
    return row.free, row.hosts, row.p10, row.p50, row.p90


def test_a_machine_that_only_says_it_has_64_cards_does_not_make_the_price_of_everybody() -> None:
    for honest in range(5):
        asks(cast.person(f"bob{honest}"), 83_333)
    made_up = asks(cast.person("mallory"), 250_000_000, gpus=64)
    assert noted() == (84, 6, 83_333, 83_333, 83_333)
    Offer.objects.filter(pk=made_up.pk).update(compute_rate=1)
    assert noted() == (84, 6, 83_333, 83_333, 83_333)


def test_a_host_has_one_voice_however_many_machines_there_are_and_it_is_the_median_of_their_cards() -> (
    None
):
    bob, carol = cast.person("bob"), cast.person("carol")
    asks(bob, 100, gpus=1, name="one")
    asks(bob, 300, gpus=4, name="two")
    asks(bob, 900, gpus=2, name="three")
    assert noted() == (7, 1, 300, 300, 300)
    asks(carol, 200, gpus=1)
    assert noted() == (8, 2, 200, 200, 300)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (1, (1, 1, 1)),
        (2, (1, 1, 2)),
        (3, (2, 2, 2)),
        (4, (2, 2, 3)),
        (10, (2, 5, 9)),
        (20, (2, 10, 19)),
        (21, (3, 11, 19)),
    ],
)
def test_from_three_hosts_on_neither_the_cheapest_nor_the_dearest_makes_a_figure(
    hosts: int, expected: tuple[int, int, int]
) -> None:
    people = [cast.person(f"bob{number}") for number in range(hosts)]
    for number, host in enumerate(people, start=1):
        asks(host, number, gpus=1)
    assert noted() == (hosts, hosts, *expected)


def test_machines_without_cards_count_once_and_those_made_up_for_tests_and_what_is_full_never() -> (
    None
):
    bob = cast.person("bob")
    cast.machine(bob, name="bare")
    asks(bob, 100, gpus=1, name="cheap")
    dear = asks(bob, 300, gpus=4, name="dear")
    simulated = asks(cast.person("dora"), 1, gpus=1)
    Offer.objects.filter(pk=simulated.pk).update(simulated=True)
    assert noted() == (5, 1, 300, 300, 300)
    assert noted("") == (1, 1, 13_889, 13_889, 13_889)
    Offer.objects.filter(pk=dear.pk).update(gpu_free=0, listed=False, hidden_because="fully_rented")
    assert noted() == (1, 1, 100, 100, 100)
    assert ModelPrice.objects.count() == 2


def test_hours_that_nobody_can_ask_for_any_more_are_forgotten() -> None:
    now = clock.now()
    for days in (0, 365, 367):
        ModelPrice.objects.create(
            gpu_model="x", hour=now - dt.timedelta(days=days), free=1, hosts=1, p10=1, p50=1, p90=1
        )
    services.note_prices()
    ages = [(now - row.hour).days for row in ModelPrice.objects.order_by("-hour")]
    assert ages == [0, 365]


def test_what_strangers_ask_moves_no_hosts_smart_price() -> None:
    bob = cast.person("bob")
    _, offer = cast.machine(bob, gpus=2)
    wishes = (Decimal("0.10"), Decimal("0.50"), 70)
    services.set_smart_price(
        actor=bob, node_id=offer.node_id, on=True, floor_hourly=wishes[0], ceiling_hourly=wishes[1],
        target_percent=wishes[2],
    )  # fmt: skip
    before = services.preview_smart_price(actor=bob, node_id=offer.node_id)
    for number, rate in enumerate([1, 1, 250_000_000, 250_000_000]):
        asks(cast.person(f"mallory{number}"), rate, gpus=64)
    noted()
    services.step_smart_prices()
    after = services.preview_smart_price(actor=bob, node_id=offer.node_id)
    assert before == after
    assert Offer.objects.get(pk=offer.pk).compute_rate == offer.compute_rate
    smart = SmartPrice.objects.get()
    assert smart.floor_rate <= offer.compute_rate <= smart.ceiling_rate


def test_prices_that_were_noted_while_the_clock_was_ahead_are_not_the_newest() -> None:
    cast.proxy_server()
    with time_machine.travel("2027-11-21T12:00:00Z", tick=False):
        cast.machine(cast.person("bob"), gpus=1)
        services.note_prices()
        [model] = queries.priced_models(since=clock.now() - dt.timedelta(hours=1))
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False):
        since = clock.now() - dt.timedelta(hours=2)
        assert queries.newest_prices([model], since=since) == {}
        services.note_prices()
        assert queries.newest_prices([model], since=since)[model].hour == clock.now()
        assert ModelPrice.objects.count() == 1
