"""Fixtures for every tier. A test's tier is its folder: tests/<tier>/, else `service` when it uses the database."""

from __future__ import annotations

from pathlib import Path

import pytest

TIERS = ("system", "browser", "crash")


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
    return any(item.iter_markers("django_db")) or "db" in getattr(item, "fixturenames", ())
