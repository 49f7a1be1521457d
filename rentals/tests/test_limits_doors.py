"""The doors of limits: the page's form and the API say the same, and refuse the same."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from core import clock
from rentals.models import Rental
from tests import cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def rental_path() -> tuple[User, str]:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(alice, offer)
    return User.objects.get(pk=alice.user_id), f"rentals/{rental.pk}/"


def test_limits_are_set_and_taken_back_by_api(rental_path: tuple[User, str]) -> None:
    user, path = rental_path
    client = APIClient()
    client.force_login(user)
    body = {"ends_at": None, "spend_cap": "10.5"}
    data = client.put(f"/api/v1/{path}limits/", body, "json").json()["data"]
    assert (data["ends_at"], data["spend_cap"]) == (None, "10.50")
    body = {"ends_at": None, "spend_cap": None}
    data = client.put(f"/api/v1/{path}limits/", body, "json").json()["data"]
    assert data["spend_cap"] is None


@pytest.mark.parametrize("cap", ["-1", "NaN", "1e30", "0.0000000001", "9" * 20, "ten", True])
def test_caps_that_are_no_amounts_are_refused(rental_path: tuple[User, str], cap: object) -> None:
    user, path = rental_path
    client = APIClient()
    client.force_login(user)
    answer = client.put(f"/api/v1/{path}limits/", {"ends_at": None, "spend_cap": cap}, "json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert client.get(f"/api/v1/{path}").json()["data"]["spend_cap"] is None


def test_the_page_sets_limits_and_shows_them(rental_path: tuple[User, str]) -> None:
    user, path = rental_path
    client = Client()
    client.force_login(user)
    answer = client.post(f"/{path}limits/", {"hours": "5", "spend_cap": "7"}, follow=True)
    text = answer.content.decode()
    assert "$7.00" in text
    assert answer.context["rental"].ends_at is not None
    refused = client.post(f"/{path}limits/", {"hours": "soon", "spend_cap": ""})
    assert refused.status_code == 400
    assert b"limits_unreadable" in refused.content


def test_an_extension_that_is_sent_twice_with_one_key_counts_once(
    rental_path: tuple[User, str],
) -> None:
    user, path = rental_path
    client = APIClient()
    client.force_login(user)
    end = clock.now().replace(microsecond=0) + dt.timedelta(hours=5)
    client.put(f"/api/v1/{path}limits/", {"ends_at": end, "spend_cap": None}, "json")

    def extend(hours: str, key: str | None) -> tuple[int, str]:
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = client.post(f"/api/v1/{path}extend/", {"hours": hours}, "json", headers=headers)
        return answer.status_code, answer.json().get("data", answer.json()).get("ends_at", "")

    day = dt.timedelta(days=1)
    for _ in range(2):
        assert extend("24", "one") == (200, (end + day).isoformat().replace("+00:00", "Z"))
    assert extend("12", "one")[0] == 409
    for times in (2, 3):
        assert extend("24", None) == (200, (end + times * day).isoformat().replace("+00:00", "Z"))


def test_a_button_that_is_pressed_twice_on_one_page_extends_once(
    rental_path: tuple[User, str],
) -> None:
    user, path = rental_path
    client, rental = Client(), Rental.objects.get()
    client.force_login(user)
    end = clock.now().replace(microsecond=0) + dt.timedelta(hours=5)
    Rental.objects.update(ends_at=end)

    def press(hours: str, key: str) -> int:
        form = {"hours": hours, "idempotency_key": key}
        return client.post(f"/{path}extend/", form).status_code

    def later() -> dt.timedelta:
        rental.refresh_from_db()
        assert rental.ends_at is not None
        return rental.ends_at - end

    page = client.get(f"/{path}")
    key = page.context["idempotency_key"]
    assert f'name="idempotency_key" value="{key}"' in page.content.decode()
    assert [press("1", key), press("1", key)] == [302, 302]
    assert later() == dt.timedelta(hours=1)
    assert [press("24", key), press("24", key)] == [302, 302]
    assert later() == dt.timedelta(hours=25)
    fresh = client.get(f"/{path}").context["idempotency_key"]
    assert (fresh != key, press("1", fresh)) == (True, 302)
    assert later() == dt.timedelta(hours=26)
    for hours, bad in (("1", ""), ("1", "k" * 200), ("2", key), ("", key)):
        assert press(hours, bad) == 400
    assert later() == dt.timedelta(hours=26)
