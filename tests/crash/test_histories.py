"""Many random histories of money, each beside a model. The seed is printed; the same seed is the same histories.

`DISTRIBUTEDCOMPUTE_HISTORIES` says how many (1,000). The lives of a renter's rentals are `test_lives`.
`DISTRIBUTEDCOMPUTE_SEED` says which is the first.
"""

from __future__ import annotations

import os
import secrets

import pytest
from django.db import transaction

from tests.histories.wallets import History

COUNT = int(os.environ.get("DISTRIBUTEDCOMPUTE_HISTORIES", "1000"))
FIRST = int(os.environ.get("DISTRIBUTEDCOMPUTE_SEED", secrets.randbelow(10**9)))


@pytest.mark.django_db
@pytest.mark.timeout(36_000)
def test_random_histories_of_a_wallet_add_up_to_the_nano_dollar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = COUNT
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
