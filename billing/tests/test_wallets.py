"""Wallets in every currency, amounts as people send them, and statements page by page."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from accounts.actors import Actor
from billing import services
from billing.models import Account, Deposit, Transfer
from core import money
from core.errors import Invalid
from core.models import IdempotencyKey
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/"
USD = money.NANO


@pytest.mark.parametrize(
    ("given", "nano"),
    [
        ("20.50", 20_500_000_000),
        ("0.000000001", 1),
        ("1000000", 1_000_000 * USD),
        ("1.5000000000000", 1_500_000_000),
        (" 7 ", 7 * USD),
        (20, 20 * USD),
        (0.1, 100_000_000),
        (Decimal("1E+2"), 100 * USD),
    ],
)
def test_an_amount_is_read_to_the_nano(given: object, nano: int) -> None:
    assert services.parse_amount(given) == nano


NONSENSE = [
    ("NaN", "amount_invalid"),
    ("Infinity", "amount_invalid"),
    ("-Infinity", "amount_invalid"),
    (float("nan"), "amount_invalid"),
    (float("inf"), "amount_invalid"),
    ("1e9", "amount_invalid"),
    ("0x10", "amount_invalid"),
    ("1,5", "amount_invalid"),
    ("1_000", "amount_invalid"),
    ("٣", "amount_invalid"),
    ("twenty", "amount_invalid"),
    ("", "amount_invalid"),
    (".5", "amount_invalid"),
    ("5\n6", "amount_invalid"),
    (True, "amount_invalid"),
    (None, "amount_invalid"),
    ([20], "amount_invalid"),
    pytest.param("9" * 5000, "amount_invalid", id="5000 nines"),
    pytest.param(10**5000, "amount_invalid", id="5001 digits"),
    (Decimal("NaN"), "amount_invalid"),
    (Decimal("1E+999999"), "amount_invalid"),
    ("0", "amount_range"),
    ("-0.00", "amount_range"),
    ("-5", "amount_range"),
    ("9" * 20, "amount_range"),
    ("1000000.000000001", "amount_range"),
    ("0.0000000001", "amount_too_fine"),
]


@pytest.mark.parametrize(("given", "code"), NONSENSE)
def test_what_is_no_amount_within_the_limits_is_refused_by_name(given: object, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.parse_amount(given)
    assert refused.value.code == code


@pytest.mark.parametrize("given", ["EUR", "usd", "", None, 7, ["USD"], "US\x00D"])
def test_an_unknown_currency_is_refused(given: object) -> None:
    with pytest.raises(Invalid) as refused:
        services.parse_currency(given)
    assert refused.value.code == "currency_unknown"


def post_deposit(alice: Actor, **body: Any) -> Any:
    return api_of(alice).post(
        f"{ROOT}deposits/", body, format="json", headers={"Idempotency-Key": "k"}
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"amount": "-5"}, "amount_range"),
        ({"amount": "0"}, "amount_range"),
        ({"amount": "0.99"}, "amount_range"),
        ({"amount": "10000.01"}, "amount_range"),
        ({"amount": "9" * 20}, "amount_range"),
        ({"amount": "NaN"}, "amount_invalid"),
        ({"amount": "Infinity"}, "amount_invalid"),
        ({"amount": "1e3"}, "amount_invalid"),
        ({"amount": "5.001"}, "amount_too_fine"),
        ({"amount": "5.0000000001"}, "amount_too_fine"),
        ({"amount": ""}, "invalid"),
        ({"amount": None}, "invalid"),
        ({"amount": True}, "invalid"),
        ({}, "invalid"),
        ({"amount": "5", "currency": "EUR"}, "currency_unknown"),
        ({"amount": "5", "currency": "CREDIT"}, "currency_not_sold"),
    ],
)
def test_a_deposit_that_makes_no_sense_is_refused_and_nothing_is_kept(
    body: dict[str, Any], code: str
) -> None:
    assert refusal(post_deposit(cast.person("alice"), **body)) == (400, code)
    assert not Deposit.objects.exists()
    assert not Transfer.objects.exists()
    assert not Account.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_a_deposit_without_a_key_is_refused() -> None:
    answer = api_of(cast.person("alice")).post(f"{ROOT}deposits/", {"amount": "5"}, format="json")
    assert refusal(answer) == (400, "idempotency_key_missing")
    assert not Deposit.objects.exists()


def test_wallets_of_both_currencies_stand_side_by_side() -> None:
    alice = cast.person("alice", usd=20)
    system = Actor.system()
    services.deposit(
        actor=system, owner_id=alice.user_id, amount=3 * USD, idem="gift", currency="CREDIT"
    )
    services.place_hold(
        actor=alice, owner_id=alice.user_id, amount=5 * USD, reason="test", subject_id=alice.user_id
    )
    shown = api_of(alice).get(f"{ROOT}wallets/").json()["data"]
    sums = [(w["currency"], w["total"], w["available"], w["locked"]) for w in shown]
    assert sums == [("USD", "20.00", "15.00", "5.00"), ("CREDIT", "3.00", "3.00", "0.00")]
    assert api_of(alice).get(f"{ROOT}wallet/?currency=CREDIT").json()["data"]["total"] == "3.00"
    [gift] = api_of(alice).get(f"{ROOT}wallet/statement/?currency=CREDIT").json()["data"]["rows"]
    assert (gift["amount"], gift["currency"]) == ("3.00", "CREDIT")
    assert refusal(api_of(alice).get(f"{ROOT}wallet/?currency=EUR")) == (400, "currency_unknown")
    assert [w["total"] for w in pages_of(alice).get("/wallet/").context["wallets"]] == [
        "20.00",
        "3.00",
    ]


def test_looking_at_a_wallet_writes_nothing() -> None:
    carol = cast.person("carol")
    for path in ("wallet/", "wallets/", "wallet/statement/?currency=CREDIT"):
        assert api_of(carol).get(ROOT + path).status_code == 200
    assert not Account.objects.exists()


def test_a_statement_is_read_page_by_page_and_a_new_movement_shifts_none_of_them() -> None:
    alice = cast.person("alice")

    def pay(number: int) -> None:
        services.deposit(
            actor=Actor.system(), owner_id=alice.user_id, amount=number * USD, idem=f"n{number}"
        )

    for number in range(1, 8):
        pay(number)
    seen, before = [], None
    while True:
        page = services.statement_of(owner_id=alice.user_id, before=before, limit=3)
        seen.append([row.amount // USD for row in page.rows])
        if page.next_before is None:
            break
        before = page.next_before
        pay(100 + len(seen))
    assert seen == [[7, 6, 5], [4, 3, 2], [1]]


@pytest.mark.parametrize("given", ["-1", "x", "", "1.5", "9" * 19, "²"])
def test_a_cursor_that_was_never_given_is_refused(given: str) -> None:
    answer = api_of(cast.person("alice")).get(f"{ROOT}wallet/statement/", {"before": given})
    assert refusal(answer) == (400, "cursor_invalid")
