"""The small tools: money, machines, outbox, idempotency, secrets."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from core import currency, idempotency, money, outbox, secrets
from core.errors import Conflict, Invalid
from core.events import Event
from core.ids import new_id
from core.machine import IllegalMove, Table
from core.models import OutboxMessage


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_charge_is_additive_over_adjoining_intervals(rate: int, a: int, b: int) -> None:
    assert rate * (a + b) == rate * a + rate * b


@given(st.integers(1, 10**12), st.integers(0, 10_000))
def test_host_and_platform_share_every_nano(rate: int, fee_bps: int) -> None:
    host, fee = money.split_fee(rate, fee_bps)
    assert host + fee == rate
    assert min(host, fee) >= 0


@pytest.mark.unit
def test_prices_round_once_and_amounts_print_exactly() -> None:
    assert money.rate_from_hourly(Decimal("0.36")) == 100_000
    assert money.rate_from_monthly(Decimal("2.592")) == 1000
    assert money.decimal_string(1) == "0.000000001"
    assert money.decimal_string(1_500_000_000) == "1.50"
    assert money.decimal_string(-20_000_000) == "-0.02"
    assert money.nano_from_decimal(Decimal("1.5")) == 1_500_000_000
    with pytest.raises(ValueError, match="finer"):
        money.nano_from_decimal(Decimal("0.0000000001"))


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


LIGHT = Table[Light](
    "Light", {Light.RED: {Light.GREEN}, Light.GREEN: {Light.RED, Light.OFF}, Light.OFF: set()}
)


def test_a_table_knows_its_moves_and_draws_them() -> None:
    LIGHT.check(Light.RED, Light.GREEN)
    with pytest.raises(IllegalMove, match="Light: red -> off"):
        LIGHT.check(Light.RED, Light.OFF)
    assert LIGHT.allows(Light.GREEN, Light.OFF)
    assert LIGHT.sources(Light.RED) == {Light.GREEN}
    assert LIGHT.final == {Light.OFF}
    assert "green --> off" in LIGHT.to_mermaid()
    assert "off --> [*]" in LIGHT.to_mermaid()


class Rang(Event, frozen=True, kw_only=True):
    topic: ClassVar[str] = "test.rang"
    who: str


@pytest.mark.django_db
def test_an_event_is_handled_after_its_transaction_and_deleted() -> None:
    heard: list[str] = []
    outbox.on(Rang)(lambda event: heard.append(event.who))
    with transaction.atomic():
        outbox.publish(Rang(who="alice"))
    assert heard == []
    assert outbox.drain() == 1
    assert heard == ["alice"]
    assert not OutboxMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_published_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        outbox.publish(Rang(who="bob"))
    assert not OutboxMessage.objects.exists()


class Broke(Event, frozen=True, kw_only=True):
    topic: ClassVar[str] = "test.broke"


@pytest.mark.django_db
def test_a_failing_handler_keeps_the_event_for_later_and_lets_others_run() -> None:
    heard: list[str] = []

    def fail(_: Broke) -> None:
        raise ValueError("no")

    outbox.on(Broke)(fail)
    outbox.on(Broke)(lambda _: heard.append("second"))
    outbox.publish(Broke())
    assert outbox.drain() == 0
    assert heard == ["second"]
    message = OutboxMessage.objects.get()
    assert message.attempts == 1
    assert "ValueError('no')" in message.last_error
    assert outbox.drain() == 0


@pytest.mark.django_db
def test_the_same_request_names_the_same_subject_and_another_body_is_refused() -> None:
    owner, first, second = new_id(), new_id(), new_id()
    assert idempotency.claim(owner_id=owner, key="k", body="b", subject_id=first) == first
    assert idempotency.claim(owner_id=owner, key="k", body="b", subject_id=second) == first
    with pytest.raises(Conflict):
        idempotency.claim(owner_id=owner, key="k", body="other", subject_id=second)
    for key in ("", "x" * 201):
        with pytest.raises(Invalid):
            idempotency.claim(owner_id=owner, key=key, body="b", subject_id=second)


def test_a_sealed_secret_does_not_show_and_comes_back() -> None:
    sealed = secrets.seal("canary")
    assert "canary" not in sealed
    assert secrets.unseal(sealed) == "canary"


@pytest.mark.parametrize(
    ("nano", "said"),
    [
        (51_404_400, "0.0514"),
        (480_000_000, "0.48"),
        (1_000_000_000, "1.00"),
        (12_345_600_000, "12.35"),
        (0, "0.00"),
        (1, "0.000000001"),
        (999_999_999, "1.00"),
        (-170_000_000, "-0.17"),
    ],
)
def test_people_read_three_digits_of_an_amount(nano: int, said: str) -> None:
    assert money.human_string(nano) == said
    assert currency.priced(nano, "USD") == f"${said}"
    assert currency.priced(nano, "CREDIT") == f"{said} CREDIT"
