"""What an offer says is what is true: its columns, its reasons to be hidden, and the clock's figures."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
import time_machine
from django.db import connection

from core import clock
from hostagent.protocol import GpuFacts, WorkloadState
from nodes import services
from nodes.cards import SHEETS, data_sheet
from nodes.hardware import card_columns, driver_number
from nodes.machine import HIDDEN, UNRENTABLE, Hidden, NodeStatus
from nodes.market import Offer
from nodes.models import AgentSession, Node
from nodes.search.fields import FIELDS, FLAGS, NUMBERS, TEXTS, as_markdown
from nodes.services.listing import note_start, refresh_offer
from tests import cast


def card(**more: Any) -> dict[str, Any]:
    told = {"uuid": "GPU-1", "index": 0, "model": "NVIDIA GeForce RTX 4090", "vram_mib": 24_564}
    facts = msgspec.convert({**told, **more}, GpuFacts)
    return dict(msgspec.to_builtins(facts))


def test_every_field_that_a_query_may_use_is_a_column_of_the_offer() -> None:
    columns = {field.name for field in Offer._meta.fields}
    assert {*NUMBERS, *TEXTS, *FLAGS} <= columns
    assert len(FIELDS) == len(set(FIELDS)) > 80


def test_a_field_that_nobody_measures_is_called_unknown_in_the_map() -> None:
    lines = as_markdown().splitlines()
    assert "| bw_nvlink | unknown | GB/s |  |  |" in lines
    assert sum("| unknown |" in line for line in lines) == sum(
        each.kind is None for each in FIELDS.values()
    )


def test_a_card_that_tells_everything_fills_every_column() -> None:
    told = card(
        driver="550.54.15", cuda="12.4", compute_capability="8.9", pcie_generation=4, pcie_width=16
    )
    assert card_columns([told]) == {
        "gpu_model": "NVIDIA GeForce RTX 4090",
        "gpu_vendor": "nvidia",
        "vram_mib": 24_564,
        "gflops": 82_600,
        "memory_bandwidth_gbs": 1008,
        "compute_capability": 890,
        "cuda": 1240,
        "driver": 550_054_015,
        "mig": False,
        "pcie_generation": 4,
        "pcie_lanes": 16,
    }


def test_what_a_card_does_not_tell_is_unknown_and_never_nought() -> None:
    silent = card_columns([card(model="Some card", vram_mib=0)])
    told = {"gpu_model": "Some card", "gpu_vendor": "nvidia", "mig": False}
    assert silent == {**dict.fromkeys(silent), **told}
    bare = card_columns([])
    assert bare == {**dict.fromkeys(bare), "gpu_model": "", "gpu_vendor": ""}


def test_of_cards_that_differ_an_offer_promises_the_least_and_nothing_that_one_of_them_hides() -> (
    None
):
    one, other = card(cuda="12.4"), card(model="NVIDIA GeForce RTX 3060", vram_mib=12_288)
    both = card_columns([one, other])
    assert both["gpu_model"] == "NVIDIA GeForce RTX 3060 + NVIDIA GeForce RTX 4090"
    assert (both["vram_mib"], both["gflops"], both["cuda"]) == (12_288, 12_700, None)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("550.54.15", 550_054_015),
        ("535.183", 535_183_000),
        ("", None),
        ("550.54.15.1", None),
        ("5x", None),
        ("550.1000", None),
        ("٥٥٠", None),
    ],
)
def test_driver_versions_compare_as_numbers(version: str, number: int | None) -> None:
    assert driver_number(version) == number


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4080 SUPER", None),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA T400", None),
    ],
)
def test_a_data_sheet_is_taken_for_the_card_that_it_is_of(model: str, known: str | None) -> None:
    assert data_sheet(model) == (SHEETS[known] if known else None)


def test_every_reason_to_be_hidden_has_a_sentence() -> None:
    assert set(HIDDEN) == set(Hidden)
    assert set(UNRENTABLE) == set(NodeStatus) - {NodeStatus.ONLINE}


@pytest.mark.django_db
def test_the_database_numbers_offers_and_stamps_every_change_whoever_makes_it() -> None:
    _, first = cast.machine(cast.person("bob"), name="one")
    _, second = cast.machine(cast.person("bob"), name="two")
    for offer in (first, second):
        offer.refresh_from_db()
    assert first.number is not None
    assert second.number is not None
    assert first.number < second.number
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE nodes_offer SET changed_seq = 1, number = 9 WHERE id = %s", [first.pk]
        )
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (now,) = cursor.fetchone()
    was = first.number
    first.refresh_from_db()
    assert (first.number, first.changed_seq) == (was, now)


@pytest.mark.django_db
def test_disk_that_a_rental_holds_is_not_offered_again_and_none_left_hides_the_machine() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    agent, offer = cast.machine(cast.person("bob"), gpus=2)
    cast.rented(alice, offer, gpus=1)
    offer.refresh_from_db()
    assert (offer.gpu_free, offer.disk_gb, offer.listed) == (1, 90, True)
    node = Node.objects.lock().get(pk=agent.node_id)
    node.facts["disk_gb"] = 10
    refresh_offer(node)
    offer.refresh_from_db()
    assert (offer.gpu_free, offer.disk_gb, offer.listed) == (1, 0, False)
    assert offer.hidden_because == "no_disk_left"


@pytest.mark.django_db
def test_the_first_start_is_believed_and_later_ones_count_for_a_quarter() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    node = Node.objects.lock().get(pk=agent.node_id)
    assert Offer.objects.get().ready_seconds is None
    for seconds, kept in ((0.2, 1), (40.0, 11), (11.0, 11)):
        note_start(node, seconds)
        assert Offer.objects.get().ready_seconds == kept


@pytest.mark.django_db(transaction=True)
def test_a_start_that_an_agent_reports_is_timed_once() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    agent, offer = cast.machine(cast.person("bob"))
    with time_machine.travel(clock.now(), tick=False) as traveller:
        workload = cast.workload_of(cast.rented(alice, offer))
        link = agent.connect()
        traveller.shift(10)
        agent.report(link, workload, WorkloadState.PULLING)
        traveller.shift(8)
        agent.report(link, workload, WorkloadState.RUNNING)
        assert Node.objects.get().ready_seconds == 18
        traveller.shift(60)
        agent.report(link, workload, WorkloadState.STOPPED)
        agent.report(link, workload, WorkloadState.RUNNING)
    assert Node.objects.get().ready_seconds == 18


@pytest.mark.django_db
def test_reliability_is_the_part_of_a_machines_life_in_which_it_was_heard() -> None:
    agent, _ = cast.machine(cast.person("bob"))
    now = clock.now()
    assert services.rate_reliability() == 0  # younger than a day: unknown
    Node.objects.update(created_at=now - dt.timedelta(days=10))
    AgentSession.objects.update(
        opened_at=now - dt.timedelta(days=10), last_beat=now - dt.timedelta(days=1)
    )
    assert services.rate_reliability() == 1
    assert Offer.objects.get(node_id=agent.node_id).reliability_bp == 9000
    assert services.rate_reliability() == 0
    Node.objects.update(created_at=now - dt.timedelta(days=90))
    assert services.rate_reliability() == 1
    assert Node.objects.get().reliability_bp == 3000


@pytest.mark.parametrize(
    "told", ["RTX 4090\u200b", " RTX\n4090", "RTX\u00a04090", "\u202eRTX 4090"]
)
def test_a_model_that_only_looks_like_another_is_that_one(told: str) -> None:
    assert card_columns([card(model=told)])["gpu_model"] == "RTX 4090"
