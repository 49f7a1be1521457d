"""Quotes that nobody rented, and keys that nobody repeats, are forgotten."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine

from core import clock, idempotency
from core.ids import new_id
from core.models import IdempotencyKey
from marketplace.tasks import forget_idempotency_keys
from rentals import services, tasks
from rentals.models import Quote
from tests import cast

pytestmark = pytest.mark.django_db


def test_quotes_of_yesterday_are_forgotten_and_those_of_rentals_are_not() -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False):
        cast.proxy_server()
        alice = cast.person("alice", usd=50)
        _, offer = cast.machine(cast.person("bob"))
        for _ in range(3):
            services.quote_offer(actor=alice, offer_id=offer.pk, template_id=cast.template().pk)
        rental = cast.rented(alice, offer)
        tasks.forget_quotes()
        assert Quote.objects.count() == 4
    with time_machine.travel("2026-11-22T12:03:00Z", tick=False):
        tasks.forget_quotes()
        assert Quote.objects.get().pk == rental.quote_id


def test_an_idempotency_key_is_kept_for_a_month() -> None:
    owner, subject = new_id(), new_id()
    idempotency.claim(owner_id=owner, key="k", body="b", subject_id=subject)
    for days, left in ((29, 1), (31, 0)):
        with time_machine.travel(clock.now() + dt.timedelta(days=days), tick=False):
            forget_idempotency_keys()
            assert IdempotencyKey.objects.count() == left
