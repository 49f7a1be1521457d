"""The search through its public door: what it answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from core.api import AnonThrottle, UserThrottle, network_of
from marketplace.limits import NearThrottle
from nodes.market import Offer
from nodes.search import board
from nodes.search.fields import FIELDS
from tests import cast
from tests.doors import refusal
from tests.markets import fill_market

pytestmark = pytest.mark.django_db
OFFERS = "/api/v1/offers/"


def ask(**asked: Any) -> Any:
    return APIClient().get(OFFERS, asked)


def data(**asked: Any) -> Any:
    answer = ask(**asked)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["success"], body["error"], body["code"]) == (True, "", "")
    return body["data"]


def test_an_answer_has_rows_the_next_page_the_count_and_the_facets_for_everyone() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    cast.machine(cast.person("bob"), name="bare")
    found = data(gpus=2, disk_gb=50, hours=8)
    assert (found["total"], found["next"], found["without"]) == (1, None, [])
    assert found["facets"]["gpu_model"] == [{"value": "RTX 4090", "count": 1}]
    assert found["facets"]["country"] == [{"value": None, "count": 1}]
    [row] = found["rows"]
    assert row.keys() == {"node_name", *FIELDS}
    # 2 cards at 83,333 nano/s and 50 GB at 39, for 3600 seconds and eight times as long.
    assert (row["id"], row["gpus"], row["hours"]) == (str(offer.pk), 2, 8)
    assert (row["price_hourly"], row["price_total"]) == ("0.6070176", "4.8561408")
    assert (row["vram_total_mib"], row["gpu_share_bp"]) == (49_128, 10_000)
    assert (row["cpu_cores_yours"], row["memory_mib_yours"]) == (8, 16_384)
    # 165,200 GFLOPS for that price an hour.
    assert row["value"] == 272.15
    assert APIClient().get(f"{OFFERS}{offer.pk}/?gpus=2&disk_gb=50&hours=8").json()["data"] == row


def test_what_is_not_known_is_null_and_satisfies_no_filter() -> None:
    cast.machine(cast.person("bob"), gpus=1)
    [row] = data()["rows"]
    assert (row["reliability_bp"], row["ready_seconds"], row["country"]) == (None, None, None)
    assert (row["nvlink_gbs"], row["verified"]) == (None, None)
    for filters in (
        {"reliability_bp_min": 0},
        {"ready_seconds_max": 10_000},
        {"country_not": "NO"},
    ):
        found = data(**filters)
        assert (found["rows"], found["total"]) == ([], 0)


def test_a_machine_without_cards_is_found_whole_and_both_kinds_when_nothing_is_asked() -> None:
    cast.machine(cast.person("bob"), gpus=2, name="cards")
    cast.machine(cast.person("bob"), name="bare")
    assert {row["node_name"]: row["gpus"] for row in data()["rows"]} == {"cards": 1, "bare": 0}
    assert [row["node_name"] for row in data(gpus=0)["rows"]] == ["bare"]
    assert [row["node_name"] for row in data(gpus=1)["rows"]] == ["cards"]
    assert data(gpus=3)["total"] == 0
    bare = data(gpus=0)["rows"][0]
    assert (bare["gpu_model"], bare["value"], bare["gpu_share_bp"]) == (None, None, None)
    assert (bare["cpu_cores_yours"], bare["memory_mib_yours"]) == (8, 16_384)


def test_only_what_can_start_now_at_that_size_is_shown() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    assert [data(gpus=n)["total"] for n in (1, 2)] == [1, 1]
    cast.rented(alice, offer, gpus=1)
    assert [data(gpus=n)["total"] for n in (1, 2)] == [1, 0]
    assert [data(disk_gb=gb)["total"] for gb in (90, 91)] == [1, 0]
    cast.rented(alice, offer, gpus=1)
    assert data(disk_gb=1)["total"] == 0


def test_when_nothing_fits_the_answer_says_which_filter_to_give_up() -> None:
    bob = cast.person("bob")
    for name in ("one", "two"):
        cast.machine(bob, gpus=1, name=name)
    Offer.objects.filter(node__name="one").update(country="NO", vram_mib=8192)
    Offer.objects.filter(node__name="two").update(country="DE")
    found = data(country="NO", vram_mib_min=20_000, cpu_cores_max=100)
    assert found["total"] == 0
    assert found["without"] == [
        {"name": "country", "total": 1},
        {"name": "vram_mib", "total": 1},
    ]
    assert data(country="NO")["without"] == []


@pytest.mark.parametrize("sort", ["price", "value", "ready", "reliability"])
def test_pages_follow_each_other_without_a_gap_or_a_double_even_when_nearly_all_are_equal(
    sort: str,
) -> None:
    fill_market(60)
    Offer.objects.update(
        listed=True, hidden_because="", gpu_free=1, compute_rate=5, storage_gb_rate=1,
        minimum_rate=0,
        gflops=100, ready_seconds=None, reliability_bp=9000,
    )  # fmt: skip
    first = data(sort=sort, limit=7)
    seen, page = [row["id"] for row in first["rows"]], first
    # What goes or comes meanwhile does not move the others.
    Offer.objects.filter(pk=seen[0]).update(listed=False, hidden_because="offline")
    while page["next"]:
        page = data(sort=sort, limit=7, after=page["next"])
        seen += [row["id"] for row in page["rows"]]
    ids = Offer.objects.order_by("number").values_list("id", flat=True)
    assert seen == [str(pk) for pk in ids]


REFUSED = [
    ("gpu_color=red", "filter_unknown"),
    ("value_min=3", "filter_unknown"),
    ("vram_mib_not=3", "filter_unknown"),
    ("gpus_min=1", "filter_unknown"),
    ("simulated_max=true", "filter_unknown"),
    ("_min=3", "filter_unknown"),
    ("=3", "filter_unknown"),
    ("nvlink_gbs_min=900", "filter_not_measured"),
    ("verified=true", "filter_not_measured"),
    ("vram_mib_min=", "filter_value"),
    ("vram_mib_min=-1", "filter_value"),
    ("vram_mib_min=1e3", "filter_value"),
    ("vram_mib_min=99999999999999999999", "filter_value"),
    ("vram_mib_min=2147483648", "filter_value"),
    ("vram_mib_min=NaN", "filter_value"),
    ("vram_mib_min=%D9%A5", "filter_value"),
    ("vram_mib_min=1&vram_mib_min=2", "filter_value"),
    ("price_hourly_max=-0.1", "filter_value"),
    ("price_hourly_max=inf", "filter_value"),
    ("price_hourly_max=0.1234567891", "filter_value"),
    ("gpu_model=", "filter_value"),
    ("simulated=1", "filter_value"),
    ("gpus=65", "filter_value"),
    ("gpus=1&gpus=2", "filter_value"),
    ("disk_gb=0", "filter_value"),
    ("disk_gb=100001", "filter_value"),
    ("hours=0", "filter_value"),
    ("hours=8761", "filter_value"),
    ("limit=201", "filter_value"),
    ("limit=0", "filter_value"),
    ("sort=", "sort_unknown"),
    ("sort=price;drop", "sort_unknown"),
    ("after=", "cursor_invalid"),
    ("after=%00", "cursor_invalid"),
    ("after=cHJpY2UuLS4xMC4x%F0%9F%98%80", "cursor_invalid"),
    ("after=cHJpY2UuLS4xMS4x", "cursor_invalid"),
    ("after=cHJpY2UuLS4xMC45OTk5OTk5OTk5OTk5OTk5OTk5", "cursor_invalid"),
    ("os=" + "x" * 4000, "search_too_long"),
    ("&".join(f"os={n}" for n in range(51)), "search_too_long"),
]


@pytest.mark.parametrize(("asked", "code"), REFUSED)
def test_nonsense_is_refused_by_its_code(asked: str, code: str) -> None:
    assert refusal(APIClient().get(f"{OFFERS}?{asked}")) == (400, code)


@pytest.mark.parametrize(
    "asked",
    [
        {"gpu_model": "'; DROP TABLE nodes_offer; --"},
        {"gpu_model": "\x00"},
        {"os_not": "%s"},
        {"vram_mib_min": 2_147_483_647},
        {"price_hourly_max": "999999.999999999"},
        {"vram_mib_min": 9, "vram_mib_max": 3},
    ],
)
def test_what_is_only_odd_finds_what_it_says(asked: dict[str, Any]) -> None:
    cast.machine(cast.person("bob"), gpus=1)
    expected = 1 if asked.keys() & {"os_not", "price_hourly_max"} else 0
    assert data(**asked)["total"] == expected


def test_a_cursor_of_another_sort_or_size_is_refused_and_one_of_ours_is_taken() -> None:
    bob = cast.person("bob")
    for name in ("one", "two"):
        cast.machine(bob, gpus=2, name=name)
    after = data(limit=1)["next"]
    assert data(limit=1, after=after)["next"] is None
    for other in ({"sort": "ready"}, {"gpus": 1}, {"disk_gb": 11}):
        assert refusal(ask(after=after, **other)) == (400, "cursor_invalid")


def test_one_offer_is_read_for_a_size_and_by_no_filter() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    answer = APIClient().get(f"{OFFERS}{offer.pk}/", {"country": "NO"})
    assert refusal(answer) == (400, "filter_unknown")
    assert refusal(APIClient().get(f"{OFFERS}{offer.pk}/", {"gpus": "x"})) == (400, "filter_value")


def test_the_same_question_is_answered_from_memory_until_something_changes() -> None:
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    assert data()["rows"][0]["compute_hourly"] == "0.2999988"
    before = board.look().version
    assert data()["total"] == 1
    assert board.look().version == before
    Offer.objects.filter(pk=offer.pk).update(compute_rate=1)
    assert data()["rows"][0]["compute_hourly"] == "0.0000036"


def test_the_cards_and_the_disk_are_named_too_when_they_are_in_the_way() -> None:
    cast.machine(cast.person("bob"), gpus=2)
    assert data(gpus=4)["without"] == [{"name": "gpus", "total": 1}]
    # Less disk costs less, too.
    assert data(disk_gb=101)["without"] == [{"name": "disk_gb", "total": 1}]
    assert data(gpus=4, disk_gb=101)["without"] == []


def test_one_network_has_one_limit_of_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NearThrottle, "counted", (0, {}))
    # Every moment is in one window.
    monkeypatch.setattr(NearThrottle, "timer", staticmethod(lambda: 1_000_000.0))
    throttle = NearThrottle()
    throttle.num_requests, throttle.duration = 100, 60
    view, factory = APIView(), APIRequestFactory()

    def allowed(network: str) -> int:
        asked = (factory.get("/", REMOTE_ADDR=f"{network}::{i:x}") for i in range(150))
        return sum(throttle.allow_request(view.initialize_request(each), view) for each in asked)

    assert (allowed("2001:470:1:2"), allowed("2001:470:1:3")) == (100, 100)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:470:1:2:3:4:5:6", "2001:470:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unix:", "unix:"),
    ],
)
def test_a_limit_counts_networks(address: str, network: str) -> None:
    assert network_of(address) == network
    request = APIView().initialize_request(APIRequestFactory().get("/", REMOTE_ADDR=address))
    assert AnonThrottle().get_ident(request) == UserThrottle().get_ident(request) == network
