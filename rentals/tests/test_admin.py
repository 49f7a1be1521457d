"""Staff give back what a rental paid, in the admin: with a reason, once, and never more than stands."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
import time_machine
from django.test import Client

from accounts.models import User
from audit import services as audit
from billing import services as billing
from billing.models import Refund
from hostagent.protocol import WorkloadState
from rentals import probing, services
from rentals.probing import Sign
from rentals.tests.test_life import Scene
from tests import cast
from tests.doors import api_of
from tests.invariants import broken

pytestmark = pytest.mark.django_db


def test_a_rental_is_refunded_once_for_a_doubled_click_by_whoever_should_pay(
    drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(probing, "look", lambda *a, **k: Sign.ANSWERS)
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        scene = Scene(drain, traveller)
        scene.pass_time(3600)
        services.end_rental(actor=scene.alice, rental_id=scene.rental.pk)
        scene.says(WorkloadState.ABSENT)
        dora = cast.person("dora", is_staff=True)
        user = User.objects.get(pk=dora.user_id)
        user.is_superuser = True
        user.save()
        client.force_login(user)

        def act(action: str, **more: str) -> str:
            chosen = {"action": action, "_selected_action": [str(scene.rental.pk)], **more}
            return client.post("/admin/rentals/rental/", chosen, follow=True).content.decode()

        before = billing.balance_of(owner_id=scene.alice.user_id).total
        for _ in range(2):
            assert "done." in act("refund", amount="0.001", note="slow disk", once="a")
        assert "done." in act("refund_as_platform", amount="0.002", note="our fault", once="b")
        assert "is left to give back" in act("refund", amount="900", note="all", once="c")
        assert "Say why" in act("refund", amount="0.001", once="d")
        made = Refund.objects.order_by("created_at", "amount").values_list("amount", "borne_by")
        assert list(made) == [(1_000_000, "host"), (2_000_000, "platform")]
        assert billing.balance_of(owner_id=scene.alice.user_id).total == before + 3_000_000
        url = f"/api/v1/rentals/{scene.rental.pk}/bill/"
        bill = api_of(scene.alice).get(url).json()["data"]
        assert [row["kind"] for row in bill["given_back"]] == ["refund", "refund"]
        assert bill["given_back_total"] == "0.003"
        text = api_of(scene.alice).get(url, {"format": "csv"}).content.decode()
        *_, total, first, second, left = csv.DictReader(io.StringIO(text))
        assert (total["line"], total["amount"]) == ("total", bill["total"])
        assert [first["amount"], second["amount"]] == ["-0.001", "-0.002"]
        assert (left["line"], left["amount"]) == ("left", bill["left"])
        client.force_login(User.objects.get(pk=scene.alice.user_id))
        page = client.get(f"/rentals/{scene.rental.pk}/bill/").content.decode()
        assert f'data-left="{bill["left"]}"' in page
        audit.seal_new()
        assert broken() == []
