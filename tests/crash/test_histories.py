"""Many random histories of money, each beside a model. The seed is printed; the same seed is the same histories.

`DISTRIBUTEDCOMPUTE_HISTORIES` says how many in all (1,000): one in eight is the lives of a renter's rentals,
the others are lives of a wallet.
`DISTRIBUTEDCOMPUTE_SEED` says which is the first.
"""

from __future__ import annotations

import os
import secrets

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from rentals import probing
from tests.histories.rentals import Cast, RentalLives
from tests.histories.wallets import History

COUNT = int(os.environ.get("DISTRIBUTEDCOMPUTE_HISTORIES", "1000"))
FIRST = int(os.environ.get("DISTRIBUTEDCOMPUTE_SEED", secrets.randbelow(10**9)))
STEPS = 20


@pytest.mark.django_db
@pytest.mark.timeout(3600)
def test_random_histories_of_a_wallet_add_up_to_the_nano_dollar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = COUNT - COUNT // 8
    with capsys.disabled():
        print(f"\n  {count} histories of a wallet, from seed {FIRST}", flush=True)
    for number in range(FIRST, FIRST + count):
        try:
            # Each history is taken back as a whole: it has the database for itself.
            with transaction.atomic():
                History(number).run()
                transaction.set_rollback(True)
        except AssertionError as error:
            raise AssertionError(f"history {number}: {error}") from error


@pytest.mark.django_db
@pytest.mark.timeout(7200)
def test_random_lives_of_rentals_bill_every_usable_second_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "look", lambda *a, **k: probing.Sign.ANSWERS)
    count = COUNT // 8
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
