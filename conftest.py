"""Fixtures for every tier. A test's tier is its folder: tests/<tier>/, else `service` when it uses the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

import testenv
from core import outbox
from nodes.search import board
from rentals.lobby import lobby

GUARDED = (
    "audit_auditevent",
    "audit_auditseal",
    "billing_account",
    "billing_invoice",
    "billing_meter",
    "billing_month",
    "billing_monthlystatement",
    "billing_numberseries",
    "billing_transfer",
    "nodes_offer",
    "rentals_templateversion",
)
TIERS = ("system", "browser", "crash")
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parts = Path(item.path).parts
        folder = next((tier for tier in TIERS if tier in parts), None)
        marked = {mark.name for mark in item.iter_markers()} & {"unit", "service", *TIERS}
        if folder:
            item.add_marker(folder)
        elif not marked:
            item.add_marker("service" if _uses_database(item) else "unit")


def _uses_database(item: pytest.Item) -> bool:
    fixtures = DATABASE_FIXTURES.intersection(getattr(item, "fixturenames", ()))
    return bool(fixtures) or any(item.iter_markers("django_db"))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Name the database after this run, so that two runs on one checkout never meet."""
    database: dict[str, Any] = settings.DATABASES["default"]
    name = database["TEST"]["NAME"] or f"test_{database['NAME']}"
    database["TEST"]["NAME"] = f"{name}_{os.environ[testenv.NUMBER]}"


@pytest.fixture(scope="session", autouse=True)
def _flush_in_spite_of_the_guards() -> None:
    """Let tests that really commit empty guarded tables afterwards; nothing else may."""
    run = connection.ops.execute_sql_flush

    def flush(sql_list: Iterable[str]) -> None:
        off = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in GUARDED]
        on = [f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in GUARDED]
        run([*off, *sql_list, *on])

    connection.ops.execute_sql_flush = flush  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the system tier nobody works beside the test: it drains the outbox itself (`drain`), waits included."""
    monkeypatch.setattr(outbox, "_hints", [])
    monkeypatch.setattr(lobby, "run", lambda work: work())


@pytest.fixture(autouse=True)
def _no_old_offers() -> None:
    """What a test has taken back must not stay on the board of the search."""
    board.forget()


@pytest.fixture
def drain() -> Callable[[], int]:
    """Handle every event that is due, as the worker would."""
    return outbox.drain
