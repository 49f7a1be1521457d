"""The search answers exactly what plain SQL would, whatever is offered and whatever is asked."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nodes.market import Offer
from nodes.search import board
from nodes.search.fields import FLAGS, NUMBERS, TEXTS
from nodes.search.query import Sort, parse
from tests.markets import fill_market
from tests.offer_sql import sql_answer

pytestmark = pytest.mark.django_db
SMALL = {"gpu_total", "gpu_free", "pcie_generation", "pcie_lanes", "compute_capability", "cuda"}
NEVER_UNKNOWN = {"gpu_total", "gpu_free", "cpu_cores", "memory_mib"}
MACHINES = 40


def numbers(name: str) -> st.SearchStrategy[Any]:
    """Few values, so that many are equal, and the ends of what the column holds."""
    usual = st.integers(0, 9) | st.sampled_from([1000, 32_767])
    return usual if name in NEVER_UNKNOWN else usual | st.none()


WORDS = ["", "a", "b", "NVIDIA RTX 4090", "ß 'quoted'", "%s"]
OFFER = st.fixed_dictionaries({
    "listed": st.sampled_from([True, True, True, False]),
    "compute_rate": st.integers(0, 4) | st.sampled_from([13_889, 277_777_778]),
    "storage_gb_rate": st.integers(0, 2) | st.sampled_from([39, 385_803]),
    "minimum_rate": st.just(0) | st.sampled_from([3, 14_000]),
    "disk_gb": st.sampled_from([1, 10, 100, 100_000]),
    **{name: numbers(name) for name in NUMBERS},
    **{name: st.sampled_from(WORDS) for name in TEXTS if name != "country"},
    "country": st.sampled_from(["", "NO", "DE"]),
    "mig": st.sampled_from([None, True, False]),
    "simulated": st.booleans(),
    "disk_quota": st.booleans(),
})  # fmt: skip


@st.composite
def questions(draw: st.DrawFn) -> dict[str, list[str]]:
    """Draw what somebody may ask, as the words of an address."""
    asked: dict[str, list[str]] = {}
    whole = st.integers(0, 10).map(str)
    price = st.decimals(0, 2, places=6).map(str) | st.just("0.0500004")
    for name in draw(st.lists(st.sampled_from([*NUMBERS, "price_hourly"]), max_size=2)):
        end = draw(st.sampled_from(["", "_min", "_max"]))
        asked[name + end] = [draw(price if name == "price_hourly" else whole)]
    for name in draw(st.lists(st.sampled_from(TEXTS), max_size=1)):
        words = st.lists(st.sampled_from([*WORDS[1:], "NO", "nowhere"]), min_size=1, max_size=3)
        asked[name + draw(st.sampled_from(["", "_not"]))] = draw(words)
    for name in draw(st.lists(st.sampled_from(FLAGS), max_size=1)):
        asked[name] = [draw(st.sampled_from(["true", "false"]))]
    sizes: dict[str, list[str]] = {
        "gpus": ["0", "1", "2", "64"],
        "disk_gb": ["1", "10", "50", "100000"],
        "sort": [each.value for each in Sort],
        "limit": ["1", "3", "7", "200"],
    }
    for name, values in sizes.items():
        if draw(st.booleans()):
            asked[name] = [draw(st.sampled_from(values))]
    return asked


def walked(asked: dict[str, list[str]]) -> list[str]:
    """Return the ids of all pages, one after the other."""
    found: list[str] = []
    after: list[str] = []
    while True:
        more = {"after": after} if after else {}
        answer = board.search(parse({**asked, **more}.items()))
        assert not found or answer.rows, "a page that was promised is empty"
        found += [row["id"] for row in answer.rows]
        if answer.next is None:
            return found
        after = [answer.next]


def check(asked: dict[str, list[str]]) -> None:
    ids, facets = sql_answer(asked)
    answer = board.search(parse(asked.items()))
    assert (walked(asked), answer.total) == (ids, len(ids)), asked
    ours = {
        name: {each["value"] or "": each["count"] for each in counts}
        for name, counts in answer.facets.items()
    }
    assert ours == facets, asked


def write(offers: list[dict[str, Any]]) -> None:
    """Make the market consist of these offers; machines beyond them are hidden."""
    rows = list(Offer.objects.order_by("number"))
    Offer.objects.filter(pk__in=[row.pk for row in rows[len(offers) :]]).update(
        listed=False, hidden_because="offline"
    )
    for row, values in zip(rows, offers, strict=False):
        for name, value in values.items():
            setattr(row, name, value)
        row.hidden_because = "" if row.listed else "offline"
        row.gpu_free = min(row.gpu_free, row.gpu_total)
        if row.reliability_bp is not None:
            row.reliability_bp = min(row.reliability_bp, 10_000)
    Offer.objects.bulk_update(rows[: len(offers)], NAMES)


NAMES = [
    "listed", "hidden_because", "compute_rate", "storage_gb_rate", "minimum_rate", "disk_gb",
    *NUMBERS, *TEXTS, *FLAGS,
]  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    # To make a whole market smaller takes minutes; the question that fails is told as it is.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    offers=st.lists(OFFER, min_size=8, max_size=MACHINES),
    asked=st.lists(questions(), min_size=5, max_size=12),
)
def test_every_answer_equals_plain_sql_whatever_is_offered_and_asked(
    offers: list[dict[str, Any]], asked: list[dict[str, list[str]]]
) -> None:
    if not Offer.objects.exists():
        fill_market(MACHINES)
    write(offers)
    for question in asked:
        check(question)
    # Only prices change, and the same is asked again: what does not depend on them was remembered.
    Offer.objects.update(compute_rate=277_777_778 - F("compute_rate"), minimum_rate=0)
    for question in asked:
        check(question)
