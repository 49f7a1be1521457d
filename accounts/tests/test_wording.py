"""Notices in words: what a sentence says of money."""

from __future__ import annotations

import pytest

from accounts import services
from accounts.models import Notice
from accounts.notices import CATALOGUE
from tests import cast

pytestmark = pytest.mark.django_db


def test_a_notice_about_money_names_its_currency_or_is_refused() -> None:
    alice = cast.person("alice")
    about_money = [entry for entry in CATALOGUE.values() if ":money}" in entry.title + entry.body]
    assert len(about_money) > 20
    for entry in about_money:
        assert "currency" in entry.fields, entry.code
    params: dict[str, str | int] = {"amount": 5_000_000_000, "why": "Thanks."}
    with pytest.raises(ValueError, match=r"cannot be said without \['currency'\]"):
        services.notify(user_id=alice.user_id, code="adjustment_received", key="1", params=params)
    assert not Notice.objects.exists()
    for currency in ("USD", "CREDIT", "EUR"):
        told = params | {"currency": currency}
        services.notify(
            user_id=alice.user_id, code="adjustment_received", key=currency, params=told
        )
    titles = [services.word(notice).title for notice in Notice.objects.order_by("pk")]
    assert titles == [
        "$5.00 for your wallet",
        "5.00 CREDIT for your wallet",
        "5.00 EUR for your wallet",
    ]
