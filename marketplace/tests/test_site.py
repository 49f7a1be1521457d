"""What belongs to the whole site: health, the one envelope, the admin that only looks, hints to the worker."""

from __future__ import annotations

import datetime as dt
import secrets
import socketserver
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import OperationalError, connection, transaction
from django.test import Client, override_settings
from rest_framework.test import APIClient
from rest_framework.throttling import AnonRateThrottle

from accounts import api
from billing.events import WalletChanged
from core import bus, clock, outbox
from core.ids import new_id
from core.models import OutboxMessage
from marketplace import tasks
from marketplace.celery import app
from nodes.models import Node
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db


class Away:
    """A database that does not answer."""

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")


def test_health_says_whether_the_database_answers_and_nothing_more() -> None:
    assert APIClient().get("/api/health").json()["data"] == {"live": True, "ready": True}
    with connection.execute_wrapper(Away()):
        answer = APIClient().get("/api/health")
    assert refusal(answer) == (503, "platform_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert "server closed" not in answer.content.decode()


def test_the_ways_of_http_to_say_no_have_the_envelope_too() -> None:
    client = api_of(cast.person("alice"))
    assert refusal(client.delete("/api/v1/wallet/")) == (405, "method_not_allowed")
    text = client.post("/api/v1/ssh-keys/", "x", content_type="text/plain")
    assert refusal(text) == (415, "unsupported_media_type")
    for body in ("{", "[" * 100_000, '{"a":' * 50_000):
        unreadable = client.post("/api/v1/ssh-keys/", body, content_type="application/json")
        assert refusal(unreadable) == (400, "body_unreadable")


def test_a_body_that_is_wrong_deep_inside_is_told_by_the_name_of_its_field() -> None:
    client = api_of(cast.person("alice"))
    answer = client.post("/api/v1/rentals/", {"quote_id": "x", "ssh_key_ids": ["nonsense"]}, "json")
    assert refusal(answer) == (400, "invalid")
    assert answer.json()["error"] == (
        "quote_id: Must be a valid UUID. ssh_key_ids: 0: Must be a valid UUID."
    )
    listed = client.post("/api/v1/rentals/", [], "json")
    assert refusal(listed) == (400, "invalid")


def test_the_api_describes_itself_to_everyone() -> None:
    document = APIClient().get("/api/schema/", headers={"Accept": "application/json"}).json()
    assert document["info"]["title"] == "DistributedCompute"
    assert "/api/v1/rentals/{rental_id}/bill/" in document["paths"]
    assert Client().get("/api/docs/").status_code == 200


def registered() -> list[str]:
    return [
        f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for model in admin.site._registry
    ]


OURS = ("billing", "nodes", "rentals", "audit")


def test_dora_looks_at_everything_in_the_admin_and_changes_nothing_there() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"))
    rental = cast.rented(cast.person("alice", usd=50), offer)
    dora = pages_of(cast.person("dora", is_staff=True))
    assert dora.get("/admin/").status_code == 200
    addresses = [path for path in registered() if path.split("/")[2] in OURS]
    assert len(addresses) > 10
    for address in addresses:
        assert dora.get(address).status_code == 200, address
        assert dora.get(f"{address}add/").status_code == 403, address
    for thing, kind in ((rental, "rentals/rental"), (Node.objects.get(), "nodes/node")):
        page = f"/admin/{kind}/{thing.pk}/"
        assert dora.get(f"{page}change/").status_code == 200
        assert dora.post(f"{page}change/", {"state": "ended"}).status_code == 403
        assert dora.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    rental.refresh_from_db()
    assert rental.state == "reserved"


def test_the_admin_shows_no_secret_of_a_workload() -> None:
    cast.proxy_server()
    _, offer = cast.machine(cast.person("bob"))
    workload = cast.workload_of(cast.rented(cast.person("alice", usd=50), offer))
    page = pages_of(cast.person("dora", is_staff=True)).get(
        f"/admin/nodes/workload/{workload.pk}/change/"
    )
    assert page.status_code == 200
    assert workload.sealed_env
    assert workload.sealed_env not in page.content.decode()


def test_the_admin_is_closed_to_everybody_else() -> None:
    for browser in (Client(), pages_of(cast.person("carol"))):
        for address in ["/admin/", *registered()]:
            answer = browser.get(address)
            assert answer.headers["Location"].startswith("/admin/login/"), address


def test_the_admin_has_no_form_of_its_own_where_passwords_could_be_guessed_without_a_limit() -> (
    None
):
    cast.person("dora", is_staff=True)
    form = {"username": "dora@example.org", "password": "guess"}
    for answer in (Client().get("/admin/login/"), Client().post("/admin/login/", form)):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/account/login/")
    assert pages_of(cast.person("carol")).get("/admin/login/").status_code == 403


def test_every_refusal_below_api_comes_in_the_envelope() -> None:
    client = api_of(cast.person("alice"))
    assert refusal(client.get("/api/v1/nonsense/")) == (404, "not_found")
    assert refusal(client.get("/api/v1/rentals/no-uuid/")) == (404, "not_found")
    assert refusal(client.get("/api/v1/me/", headers={"Accept": "text/html"})) == (
        406,
        "not_acceptable",
    )
    large = b'{"amount": "1.00", "more": "' + b"x" * 300_000 + b'"}'
    answer = client.post("/api/v1/deposits/", large, content_type="application/json")
    assert refusal(answer) == (413, "body_too_large")
    assert client.get("/api/v1/rentals").headers["Location"] == "/api/v1/rentals/"
    assert Client().get("/nonsense/").headers["Content-Type"].startswith("text/html")


def test_a_bug_of_ours_below_api_is_an_envelope_that_tells_nothing_of_the_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = api_of(cast.person("alice"))
    client.raise_request_exception = False
    monkeypatch.setattr(api, "actor_from", lambda request: 1 / 0)
    answer = client.get("/api/v1/me/")
    assert refusal(answer) == (500, "internal_error")
    assert "division" not in answer.content.decode()


def test_while_redis_is_away_the_api_and_the_pages_say_so() -> None:
    away = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1"}}
    with override_settings(CACHES=away):
        answer = APIClient().get(f"/api/v1/offers/{new_id()}/")
        guess = Client().post("/account/login/", {"login": "x@example.org", "password": "guess"})
    assert refusal(answer) == (503, "platform_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert (guess.status_code, b"platform_unavailable" in guess.content) == (503, True)


def test_whoever_sends_x_forwarded_for_does_not_choose_whom_the_limit_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AnonRateThrottle, "rate", "2/min", raising=False)
    # Redis outlives a run: another address each time.
    client = APIClient(REMOTE_ADDR=f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}")
    codes = [
        client.get("/api/v1/offers/", headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code
        for i in range(4)
    ]
    assert codes == [200, 200, 429, 429]


def test_a_commit_hints_the_worker_through_the_broker_and_a_dead_broker_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = bus.client().llen("celery")
    tasks.hint_drain()
    assert bus.client().llen("celery") == before + 1
    bus.client().ltrim("celery", 1, -1)
    with app.connection_for_write("redis://127.0.0.1:1/0") as dead:
        monkeypatch.setattr(tasks.drain_outbox, "apply_async", through(dead))
        tasks.hint_drain()
    assert "no hint to the worker" in caplog.text


def test_a_commit_knocks_once_at_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu by itself knocks many times, and the request that committed waits for all of them."""
    knocks: list[int] = []

    class Closing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            knocks.append(1)

    with socketserver.TCPServer(("127.0.0.1", 0), Closing) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        url = f"redis://127.0.0.1:{door.server_address[1]}/0"
        with app.connection_for_write(url) as closing:
            monkeypatch.setattr(tasks.drain_outbox, "apply_async", through(closing))
            tasks.hint_drain()
        door.shutdown()
    assert len(knocks) == 1


def through(dead: Any) -> Callable[..., Any]:
    send = tasks.drain_outbox.apply_async
    return lambda **options: send(**{"connection": dead, **options})


def test_the_workers_task_handles_what_is_due() -> None:
    cast.person("alice", usd=1)
    assert OutboxMessage.objects.exists()
    tasks.drain_outbox()
    assert not OutboxMessage.objects.exists()


def test_news_that_nobody_knows_or_nobody_can_read_are_kept_and_do_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cast.person("alice", usd=1)
    wallet = OutboxMessage.objects.get()
    common = {"created_at": wallet.created_at, "due_at": wallet.due_at}
    OutboxMessage.objects.create(topic="of.another.release", payload={}, **common)
    OutboxMessage.objects.create(topic=wallet.topic, payload={"owner_id": 7}, **common)
    assert outbox.drain() == 1
    unknown, unread = OutboxMessage.objects.order_by("pk")
    assert unknown.last_error == "nobody handles of.another.release"
    assert unknown.last_error in caplog.text
    assert unread.last_error.startswith(f"{wallet.topic} cannot be read: ")
    assert min(unknown.due_at, unread.due_at) > wallet.due_at


def test_what_was_written_before_the_clock_was_set_back_does_not_wait_for_that_time() -> None:
    cast.person("alice", usd=1)
    ahead = clock.now() + outbox.FARTHEST
    OutboxMessage.objects.update(created_at=ahead, due_at=ahead - dt.timedelta(seconds=1))
    assert outbox.drain() == 0
    OutboxMessage.objects.update(due_at=ahead + dt.timedelta(hours=6))
    assert outbox.drain() == 1


@pytest.mark.django_db(transaction=True)
def test_a_hint_is_given_after_the_commit_and_never_for_what_was_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hints: list[str] = []
    monkeypatch.setattr(outbox, "_hints", [])
    outbox.set_hint(lambda: hints.append("hint"))
    alice = cast.person("alice")
    given = len(hints)
    with transaction.atomic():
        outbox.publish(WalletChanged(owner_id=str(alice.user_id)))
        transaction.set_rollback(True)
    assert len(hints) == given
    with transaction.atomic():
        outbox.publish(WalletChanged(owner_id=str(alice.user_id)))
        assert len(hints) == given
    assert len(hints) == given + 1
