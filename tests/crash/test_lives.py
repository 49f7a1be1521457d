"""Random lives of a renter's rentals beside a model: an eighth as many as there are histories of a wallet.

The seed is printed with a hash of all that was done: the same seed is the same lives, statement by statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings as django
from django.db import connection
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from rentals import probing
from tests.crash.test_histories import COUNT, FIRST
from tests.histories.chance import Ids, Trace
from tests.histories.life import Cast
from tests.histories.rentals import RentalLives

STEPS = 20
PLANS = ["indexscan", "bitmapscan", "indexonlyscan", "hashjoin", "nestloop", "hashagg"]
Live = Callable[[int, int], str]


@pytest.fixture
def live(db: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    """Return what lives so many lives from a seed on, and returns the hash of them all."""
    monkeypatch.setattr(probing, "look", lambda *a, **k: probing.Sign.ANSWERS)
    # Small, so that what little is earned reaches it.
    monkeypatch.setattr(django.DC, "payout_minimum", 1)
    RentalLives.ids = Ids()
    RentalLives.ids.install(monkeypatch)
    RentalLives.ids.begin("cast")
    RentalLives.cast = Cast.made()

    def lived(first: int, count: int) -> str:
        RentalLives.traces = []
        chosen = settings(
            max_examples=count,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(seed(first)(RentalLives), settings=chosen)
        trace = Trace()
        trace.note(RentalLives.traces)
        return trace.told

    return lived


@pytest.mark.timeout(36_000)
def test_random_lives_of_rentals_bill_every_usable_second_once(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    count = max(1, COUNT // 8)
    with capsys.disabled():
        print(f"\n  {count} lives of rentals, from seed {FIRST}", flush=True)
    told = live(FIRST, count)
    with capsys.disabled():
        print(f"  {len(RentalLives.traces)} lived, hash {told}", flush=True)


@pytest.mark.timeout(1200)
def test_the_same_seed_is_the_same_lives_whatever_plans_the_database_makes(live: Live) -> None:
    """Rows without an order of their own come as the plan has it, which load and size may change at any time."""
    for first in range(FIRST, FIRST + (20 if COUNT > 1000 else 4)):
        usual = live(first, 2)
        with _other_plans():
            assert live(first, 2) == usual, f"seed {first}"


@contextmanager
def _other_plans() -> Iterator[None]:
    with connection.cursor() as cursor:
        for kind in PLANS:
            cursor.execute(f"SET enable_{kind} = off")
        yield
        for kind in PLANS:
            cursor.execute(f"RESET enable_{kind}")
