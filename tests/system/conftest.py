"""One platform for the system tier; every test ends with the invariants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stacks import Platform, platform


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform("system", tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture
def site(shared: Platform) -> Iterator[Platform]:
    yield shared
    assert shared.broken() == []
