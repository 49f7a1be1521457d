"""What tests of the client share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdk.tests.platforms import Serve, serving_answers


@pytest.fixture
def serving() -> Iterator[Serve]:
    """Give a function that starts a server with these answers, and returns its address and what it hears."""
    with serving_answers() as serve:
        yield serve
