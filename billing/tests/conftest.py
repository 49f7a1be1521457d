"""What tests of money share."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings
from pydantic import SecretStr

from accounts.actors import Actor
from audit import services as audit
from billing.models import Deposit
from billing.tests.payments import PAID, SECRET, asked, paid, send
from tests import cast
from tests.invariants import broken


@pytest.fixture
def books_are_right(db: None) -> Iterator[None]:
    """After the test nothing is wrong with the money, and the audit log can be sealed over it."""
    yield
    audit.seal_new()
    assert broken() == []


@pytest.fixture
def dora() -> Actor:
    return cast.person("dora", is_staff=True)


@pytest.fixture
def deposit(alice: Actor) -> Deposit:
    """20 dollars that alice, as the test knows her, has paid in through Stripe."""
    made = asked(alice)
    assert send(PAID, paid(made)) == (200, "credited")
    made.refresh_from_db()
    return made


@pytest.fixture
def with_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments by Stripe; webhooks signed with a secret of ours, checked by its own library."""
    monkeypatch.setattr(settings.DC, "payments", "stripe")
    monkeypatch.setattr(settings.DC, "stripe_secret_key", SecretStr("sk_test_123"))
    monkeypatch.setattr(settings.DC, "stripe_webhook_secret", SecretStr(SECRET))


@pytest.fixture(scope="session")
def stripe_mock() -> Iterator[str]:
    """Stripe's own stand-in for its API, a fake at the border: it answers by Stripe's schema and keeps nothing."""
    program = os.environ.get("DISTRIBUTEDCOMPUTE_STRIPE_MOCK", "stripe-mock")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = subprocess.Popen([program, "-http-port", str(port)], stdout=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(base)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield base
    running.terminate()
    running.wait()
