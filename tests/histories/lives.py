"""Random lives of a renter's rentals beside a model: only `./run test histories` lives them, an eighth as many.

Not part of a plain run yet: ids are random, so hypothesis now and then cannot repeat what it has found.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from rentals import probing
from tests.crash.test_histories import COUNT, FIRST
from tests.histories.rentals import Cast, RentalLives

STEPS = 20


@pytest.mark.django_db
@pytest.mark.timeout(7200)
def test_random_lives_of_rentals_bill_every_usable_second_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "look", lambda *a, **k: probing.Sign.ANSWERS)
    count = max(1, COUNT // 8)
    with capsys.disabled():
        print(f"\n  {count} lives of rentals, from seed {FIRST}", flush=True)
    RentalLives.cast = Cast.made()
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(FIRST)(RentalLives), settings=chosen)
