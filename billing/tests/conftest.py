"""What tests of payments share."""

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

from billing.tests.payments import SECRET


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
