"""A movement of a wallet explains itself: the seconds and the rate, the payment, what it mends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import time_machine

from billing import services
from billing.models import Dispute, Transfer
from billing.tests.payments import DISPUTED, PAID, asked, dispute, paid, send
from core import money
from rentals import probing
from rentals.tests.test_liveness import Watched
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/wallet/movements/"


@pytest.fixture
def scene(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(probing, "ssh_answers", lambda *a, **k: True)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        yield Watched(drain, traveller)


def test_every_posting_and_every_reversal_is_rate_times_seconds(scene: Watched) -> None:
    scene.pass_time(100)
    scene.silent(7200, noticed=False)
    services.roll_up()
    scene.returns()
    client = api_of(scene.alice)
    rows = client.get("/api/v1/wallet/statement/").json()["data"]["rows"]
    metered = [row for row in rows if row["subject_id"]]
    assert {row["kind"] for row in metered} == {"share", "fee", "share_back", "fee_back"}
    for row in metered:
        told = client.get(f"{ROOT}{row['id']}/").json()["data"]
        amount = abs(Decimal(told["amount"])) * money.NANO
        assert amount == told["rate_nano_per_second"] * told["seconds"]
        if row["kind"].endswith("_back"):
            first = client.get(f"{ROOT}{told['reverses']}/").json()["data"]
            assert first["mended_by"] == [row["id"]]
            assert f"takes back a part of movement {told['reverses']}" in told["sentence"]
            page = pages_of(scene.alice).get(f"/wallet/movements/{row['id']}/").content.decode()
            assert f"movement {told['reverses']}" in page
        line = f"/rentals/{row['subject_id']}/bill/"
        assert f'id="line-{row["line_id"]}"' in pages_of(scene.alice).get(line).content.decode()


@pytest.mark.usefixtures("with_stripe")
def test_a_payment_leads_to_its_deposit_and_a_dispute_to_both() -> None:
    alice = cast.person("alice")
    made = asked(alice)
    assert send(PAID, paid(made)) == (200, "credited")
    assert send(DISPUTED, dispute(made)) == (200, "disputed")
    client = api_of(alice)
    came, went = (
        client.get(f"{ROOT}{Transfer.objects.get(kind=kind).pk}/").json()["data"]
        for kind in ("deposit", "dispute")
    )
    assert (came["deposit_id"], came["rate_nano_per_second"]) == (str(made.pk), None)
    assert came["sentence"] == "Paid in: 20.00 USD."
    assert (went["deposit_id"], went["amount"]) == (str(made.pk), "-20.00")
    assert went["dispute_id"] == str(Dispute.objects.get().pk)
    page = pages_of(alice).get(f"/wallet/movements/{went['id']}/").content.decode()
    assert f"/deposits/{made.pk}/" in page


def test_movements_of_others_are_not_told(scene: Watched) -> None:
    transfer = Transfer.objects.earliest("pk")
    for stranger in (cast.person("carol"), scene.bob):
        answer = api_of(stranger).get(f"{ROOT}{transfer.pk}/")
        assert refusal(answer) == (404, "movement_unknown")
    assert refusal(api_of(scene.alice).get(f"{ROOT}{10**30}/")) == (404, "movement_unknown")
