"""The price history: what the market page draws and lists, and what its API tells, hour by hour."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client
from rest_framework.test import APIClient

from core import clock
from marketplace import market
from marketplace.history import chart, cursor_of, place_of
from nodes.models import ModelPrice
from nodes.queries import PricePoint
from tests.doors import refusal

pytestmark = pytest.mark.django_db
PAGE = "/market/"
API = "/api/v1/market/prices/"


@pytest.fixture(autouse=True)
def noon() -> Iterator[dt.datetime]:
    """Half past noon, so that the newest hour is the one that began at noon."""
    with time_machine.travel("2027-03-01T12:30:00Z", tick=False):
        yield clock.now().replace(minute=0)


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    """What another test has seen must not stay on the shelf."""
    market.forget()


def face(days: int = 7) -> dict[str, Any]:
    """Return what the page shows of the one model that there is."""
    [found] = market.faces(days, market.models_shown(days)).values()
    return found


def names(page: Any) -> list[str]:
    """Return the models in the order in which the page lists them."""
    return re.findall(r"<summary[^>]*>([^<]*)</summary>", page.content.decode())


def hour(
    ago: int, model: str = "RTX 4090", *, cent: int = 30, free: int = 4, hosts: int = 3
) -> ModelPrice:
    """Write down an hour in which the median was so many cents."""
    at = clock.now().replace(minute=0) - dt.timedelta(hours=ago)
    rates = [round(each * cent * 10_000_000 / 3600) for each in (0.5, 1, 2)]
    return ModelPrice.objects.create(
        gpu_model=model, hour=at, free=free, hosts=hosts, p10=rates[0], p50=rates[1], p90=rates[2]
    )


def told(**asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = APIClient().get(API, asked).json()["data"]
    return answer


def test_every_hour_is_told_newest_first_and_a_machine_without_a_card_has_no_model() -> None:
    hour(1, cent=36)
    hour(0, cent=72)
    hour(0, "", cent=9, free=1)
    rows = told()["rows"]
    assert [(row["gpu_model"], row["p50_hourly"]) for row in rows] == [
        (None, "0.09"),
        ("RTX 4090", "0.72"),
        ("RTX 4090", "0.36"),
    ]
    assert rows[1] == {
        "gpu_model": "RTX 4090",
        "hour": "2027-03-01T12:00:00Z",
        "free": 4,
        "hosts": 3,
        "thin": False,
        "p10_hourly": "0.36",
        "p50_hourly": "0.72",
        "p90_hourly": "1.44",
    }


def test_it_is_asked_for_by_model_and_period() -> None:
    hour(0)
    hour(30)
    hour(0, "", free=1)
    hour(0, "A100")
    hour(24 * 8)
    assert len(told()["rows"]) == 4
    assert [row["hour"][:10] for row in told(gpu_model="RTX 4090")["rows"]] == [
        "2027-03-01",
        "2027-02-28",
    ]
    assert len(told(gpu_model="RTX 4090", days=1)["rows"]) == 1
    assert len(told(gpu_model="RTX 4090", days=9)["rows"]) == 3
    assert [row["gpu_model"] for row in told(without_cards="true")["rows"]] == [None]
    assert told(gpu_model="Unheard-of") == {"rows": [], "next": None}


def test_pages_follow_each_other_without_a_gap_or_a_double() -> None:
    rows = [hour(ago, model) for ago in range(3) for model in ("", "A.100", "B", "C")]
    answer = told(limit=5)
    seen = [(row["hour"], row["gpu_model"]) for row in answer["rows"]]
    for _ in range(2):
        answer = told(limit=5, after=answer["next"])
        seen += [(row["hour"], row["gpu_model"]) for row in answer["rows"]]
    assert answer["next"] is None
    assert len(seen) == len(set(seen)) == len(rows)
    assert place_of(cursor_of(rows[1])) == (rows[1].hour, "A.100")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"days": 0}, "invalid"),
        ({"days": 366}, "invalid"),
        ({"days": "NaN"}, "invalid"),
        ({"limit": 501}, "invalid"),
        ({"gpu_model": "x" * 201}, "invalid"),
        ({"gpu_model": "\0"}, "invalid"),
        ({"after": "!"}, "cursor_invalid"),
        ({"after": "é"}, "cursor_invalid"),
        ({"after": "LTEu"}, "cursor_invalid"),
        ({"after": "OTk5OTk5OTk5OTku"}, "cursor_invalid"),
        ({"after": "MS4A"}, "cursor_invalid"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], code: str) -> None:
    assert refusal(APIClient().get(API, asked)) == (400, code)


def test_the_page_is_open_to_everyone_and_says_when_nothing_is_known() -> None:
    page = Client().get(PAGE)
    assert page.status_code == 200
    assert "No price is known in this time." in " ".join(page.content.decode().split())
    assert f'href="{PAGE}"' in Client().get("/").content.decode()
    unknown = Client().get(PAGE, {"model": "4090"}).content.decode()
    assert "of such a model" in unknown


def test_the_page_shows_the_price_of_now_its_change_and_every_step() -> None:
    hour(7 * 24 - 1, cent=20)
    hour(12, cent=60)
    hour(0, cent=30)
    model = face()
    assert (model["name"], model["free"], model["change"]) == ("RTX 4090", 4, "+50.0")
    assert [float(model[name]) for name in ("p10", "p50", "p90")] == pytest.approx(
        [0.15, 0.3, 0.6], abs=1e-5
    )
    assert [step["at"].hour for step in model["steps"]] == [12, 0, 12]
    page = Client().get(PAGE).content.decode()
    assert "<svg" in page
    assert "median between $0.2000 and $0.6000 an hour" in page


def test_hours_of_one_step_are_shown_as_their_mean() -> None:
    hour(0, cent=30, free=2)
    hour(1, cent=50, free=5)
    hour(2, cent=70, free=5)
    assert [step["free"] for step in face()["steps"]] == [5, 2]
    [_, _, last] = face(days=1)["steps"]
    assert float(last["p50"]) == pytest.approx(0.3, abs=1e-5)


def test_a_price_of_fewer_than_three_hosts_is_said_to_be_thin() -> None:
    hour(0, "A100", hosts=2)
    hour(0, "B200", hosts=3)
    thin, known = market.faces(7, ["A100", "B200"]).values()
    assert [(each["hosts"], each["thin"]) for each in (thin, known)] == [(2, True), (3, False)]
    page = " ".join(Client().get(PAGE).content.decode().split())
    assert page.count('<td class="number">2, thin</td>') == 1
    assert page.count("thin</td>") == 1
    assert [row["thin"] for row in told()["rows"]] == [True, False]


def test_what_was_not_seen_lately_is_not_known_and_never_nought() -> None:
    hour(3)
    model = face()
    figures = ("free", "hosts", "p10", "p50", "p90", "change")
    assert [model[name] for name in figures] == [None] * 6
    assert not model["thin"]
    page = Client().get(PAGE).content.decode()
    assert page.count('<td class="number">–</td>') == 5
    assert '<td class="number font-semibold">–</td>' in page


def test_a_price_of_nothing_is_a_price() -> None:
    hour(5, cent=0)
    hour(0, cent=0)
    model = face(days=1)
    assert (model["p50"], model["change"]) == ("0.00", None)
    assert model["chart"]["dots"]


def test_models_are_found_by_a_part_of_their_name_and_listed_in_pages() -> None:
    for number in range(27):
        hour(0, f"Card {number:02}")
    first = Client().get(PAGE)
    assert names(first) == [f"Card {number:02}" for number in range(25)]
    second = Client().get(f"{PAGE}?{first.context['next']}")
    assert names(second) == ["Card 25", "Card 26"]
    assert (second.context["next"], second.context["first"]) == ("", True)
    assert names(Client().get(PAGE, {"model": "card 07"})) == ["Card 07"]


@pytest.mark.parametrize("asked", [{"days": "8"}, {"days": "x"}, {"model": "x" * 201}])
def test_a_wrong_wish_shows_the_usual_week_and_says_what_is_wrong(asked: dict[str, str]) -> None:
    page = Client().get(PAGE, asked)
    assert page.context["days"] == 7
    assert page.context["form"].errors


def point(ago_steps: int, cent: int = 30) -> PricePoint:
    at = clock.from_epoch(clock.epoch() // 21_600 * 21_600 - ago_steps * 21_600)
    return PricePoint("x", at, 1, 3, cent, 2 * cent, 4 * cent)


def test_a_step_of_which_nothing_is_known_interrupts_the_line() -> None:
    drawn = chart([point(9), point(8), point(5), point(3), point(2)], 7)
    assert drawn is not None
    assert (len(drawn["lines"]), len(drawn["strips"]), len(drawn["dots"])) == (2, 2, 1)
    assert chart([], 7) is None


def test_a_line_stays_within_its_drawing_and_begins_at_nothing() -> None:
    drawn = chart([point(40, 100), point(39, 50), point(0, 0)], 7)
    assert drawn is not None
    spots = [tuple(map(float, each.split(","))) for each in drawn["strips"][0].split()]
    assert all(2 <= x <= 238 and 2 <= y <= 38 for x, y in [*spots, *drawn["dots"]])
    assert drawn["dots"] == [(238.0, 38.0)]
