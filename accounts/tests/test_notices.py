"""Notices: once for each thing, to one person only, through the channels they chose."""

from __future__ import annotations

import dataclasses
import datetime as dt
import smtplib
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends import locmem
from django.test import Client
from rest_framework.test import APIClient

from accounts import reconcile, services, tasks
from accounts.actors import Actor
from accounts.models import Notice, NoticeChoice, User
from accounts.notices import CATALOGUE, Entry
from core import clock
from core.errors import Conflict, DomainError, Invalid, NotFound
from core.models import OutboxMessage
from tests import cast
from tests.doors import refusal

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def key_made(actor: Actor, name: str = "ci", *, key: str = "k1") -> None:
    """Tell of an API key, as often as one calls it."""
    services.notify(
        user_id=actor.user_id,
        code="api_key_made",
        key=key,
        params={
            "name": name,
            "prefix": "0123456789",
            "scopes": "offer:read",
            "at": clock.to_epoch(NOON),
        },
    )


def signed_in(actor: Actor) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=actor.user_id))
    return client


def api_of(actor: Actor) -> APIClient:
    client = APIClient()
    client.force_login(User.objects.get(pk=actor.user_id))
    return client


def test_one_thing_told_twice_is_one_notice_and_one_mail() -> None:
    alice = cast.person("alice")
    for _ in range(3):
        key_made(alice)
    assert reconcile.send_mail_due() == 1
    assert reconcile.send_mail_due() == 0
    assert Notice.objects.count() == len(mail.outbox) == 1
    assert OutboxMessage.objects.filter(topic="accounts.notices_changed").count() == 1
    key_made(alice, key="k2")
    assert Notice.objects.count() == 2


def test_the_mail_says_what_happened_when_and_where_to_look_in_text_and_html() -> None:
    alice = cast.person("alice")
    services.choose_notices(actor=alice, choices=[], zone="Europe/Oslo")
    key_made(alice, "<b>ci</b>")
    reconcile.send_mail_due()
    [sent] = mail.outbox
    assert sent.subject == "API key made: <b>ci</b>"
    assert sent.to == [services.email_of(user_id=alice.user_id)]
    assert "at 21 Nov, 13:00 CET" in sent.body
    assert "http://127.0.0.1:8000/api-keys/" in sent.body
    assert "is always sent" in sent.body
    [(html, kind)] = sent.alternatives  # type: ignore[attr-defined]
    assert kind == "text/html"
    assert "&lt;b&gt;ci&lt;/b&gt;" in html
    assert "<b>" not in html
    assert 'href="http://127.0.0.1:8000/api-keys/"' in html


def test_instants_are_in_utc_for_who_has_no_zone_or_one_that_is_gone() -> None:
    alice = cast.person("alice")
    key_made(alice)
    [notice] = Notice.objects.all()
    with time_machine.travel(NOON):
        assert "at 21 Nov, 12:00 UTC" in services.word(notice).body
        assert "at 21 Nov, 12:00 UTC" in services.word(notice, zone="Mars/Base").body
    with time_machine.travel(NOON + dt.timedelta(days=300)):
        assert "at 21 Nov 2026, 12:00 UTC" in services.word(notice).body


@pytest.mark.parametrize("sign", ["\n", "\r\n", "\x0b", "\u2028", "\x00", "\u202e"])
def test_no_sign_in_a_name_gets_a_header_of_its_own_into_mail(sign: str) -> None:
    alice = cast.person("alice")
    key_made(alice, f"ci{sign}Bcc: carol@example.org" + "x" * 1000)
    assert reconcile.send_mail_due() == 1
    [sent] = mail.outbox
    raw = sent.message()
    assert raw["Bcc"] is None
    assert sent.recipients() == [services.email_of(user_id=alice.user_id)]
    assert sign not in sent.subject
    assert len(sent.subject) < 600


def test_a_field_is_never_read_as_a_format() -> None:
    alice = cast.person("alice")
    key_made(alice, "{prefix} {0.__class__} %s")
    reconcile.send_mail_due()
    assert mail.outbox[0].subject == "API key made: {prefix} {0.__class__} %s"


def test_a_notice_that_lacks_a_field_is_refused_and_changes_nothing() -> None:
    alice = cast.person("alice")
    with pytest.raises(ValueError, match=r"cannot be said without \['at', 'name'"):
        services.notify(
            user_id=alice.user_id,
            code="api_key_made",
            key="1",
            params={"prefix": "x", "scopes": ""},
        )
    assert not Notice.objects.exists()


def test_an_old_notice_of_a_code_or_a_field_that_is_gone_can_still_be_shown() -> None:
    alice = cast.person("alice")
    key_made(alice)
    Notice.objects.update(params={"name": "ci"})
    [notice] = Notice.objects.all()
    assert "dck_–_…" in services.word(notice).body
    Notice.objects.update(code="long_gone")
    assert b"long_gone" in signed_in(alice).get("/notifications/").content
    assert reconcile.send_mail_due() == 1


def test_who_is_not_active_any_more_is_told_nothing() -> None:
    alice = cast.person("alice")
    User.objects.filter(pk=alice.user_id).update(is_active=False)
    key_made(alice)
    assert not Notice.objects.exists()


class Failing(locmem.EmailBackend):
    """Django's own backend in memory, and a server that takes nothing for `bad` people."""

    bad: str = ""

    def send_messages(self, messages: Any) -> int:
        for message in messages:
            if self.bad in message.to[0]:
                raise smtplib.SMTPRecipientsRefused({message.to[0]: (450, b"later")})
        return super().send_messages(messages)


@pytest.fixture
def bad_alice(settings: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings.EMAIL_BACKEND = "accounts.tests.test_notices.Failing"
    monkeypatch.setattr(Failing, "bad", "alice")
    return monkeypatch


def test_a_mail_that_fails_is_tried_again_later_and_holds_up_nobody_elses(
    bad_alice: pytest.MonkeyPatch,
) -> None:
    alice, bob = cast.person("alice"), cast.person("bob")
    with time_machine.travel(NOON, tick=False) as now:
        key_made(alice)
        key_made(bob)
        assert reconcile.send_mail_due() == 1
        assert [sent.to for sent in mail.outbox] == [[services.email_of(user_id=bob.user_id)]]
        notice = Notice.objects.get(user_id=alice.user_id)
        assert (notice.mail, notice.mail_attempts) == ("due", 1)
        assert notice.mail_due_at == NOON + dt.timedelta(seconds=30)
        assert "450" in notice.mail_error
        assert reconcile.send_mail_due() == 0
        bad_alice.setattr(Failing, "bad", "nobody")
        now.shift(dt.timedelta(seconds=31))
        assert reconcile.send_mail_due() == 1
    notice.refresh_from_db()
    assert (notice.mail, notice.mail_attempts, notice.mail_error) == ("sent", 2, "")


@pytest.mark.usefixtures("bad_alice")
def test_a_mail_is_given_up_after_so_many_attempts_and_stays_in_the_page() -> None:
    alice = cast.person("alice")
    with time_machine.travel(NOON, tick=False) as now:
        key_made(alice)
        pauses = []
        for _ in range(6):
            reconcile.send_mail_due()
            due = Notice.objects.get().mail_due_at
            pauses.append(due and (due - clock.now()).total_seconds())
            now.shift(dt.timedelta(hours=2))
        assert pauses == [30, 60, 120, 240, 480, None]
        assert reconcile.send_mail_due() == 0
        assert Notice.objects.get().mail == "failed"
    assert not mail.outbox
    assert services.unread_count(user_id=alice.user_id) == 1


def test_a_mail_whose_sender_died_is_sent_by_another_under_the_same_id() -> None:
    alice = cast.person("alice")
    with time_machine.travel(NOON, tick=False) as now:
        key_made(alice)
        first = services.claim_mail()
        assert first is not None
        assert services.claim_mail() is None
        now.shift(dt.timedelta(minutes=5))
        again = services.claim_mail()
    assert again is not None
    ids = {reconcile.message_of(notice).message()["Message-ID"] for notice in (first, again)}
    assert ids == {f"<notice-{first.pk}@localhost>"}


def test_what_is_switched_off_sends_no_mail_and_shows_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CATALOGUE, "api_key_made", free("api_key_made"))
    alice, bob = cast.person("alice"), cast.person("bob")
    services.choose_notices(actor=alice, choices=[services.Choice("api_key_made", "mail", False)])
    key_made(alice)
    assert reconcile.send_mail_due() == 0
    assert services.unread_count(user_id=alice.user_id) == 1
    services.choose_notices(actor=alice, choices=[services.Choice("api_key_made", "page", False)])
    key_made(alice, key="k2")
    assert services.unread_count(user_id=alice.user_id) == 1
    services.choose_notices(actor=alice, choices=[services.Choice("api_key_made", "mail", True)])
    key_made(alice, key="k3")
    assert reconcile.send_mail_due() == 1
    assert services.unread_count(user_id=alice.user_id) == 1
    key_made(bob)
    assert services.unread_count(user_id=bob.user_id) == 1


def free(code: str) -> Entry:
    """Return an entry as if all of its channels could be switched."""
    return dataclasses.replace(CATALOGUE[code], fixed=frozenset())


@pytest.mark.parametrize(
    ("choice", "error", "code"),
    [
        (services.Choice("api_key_made", "mail", False), Conflict, "notice_fixed"),
        (services.Choice("sign_in_new", "page", False), Conflict, "notice_fixed"),
        (services.Choice("nonsense", "mail", False), Invalid, "notice_code_unknown"),
        (services.Choice("sign_in_new", "pigeon", False), Invalid, "notice_channel_unknown"),
    ],
)
def test_what_cannot_be_chosen_is_refused_and_nothing_is_changed(
    choice: services.Choice, error: type[DomainError], code: str
) -> None:
    alice = cast.person("alice")
    with pytest.raises(error) as refused:
        services.choose_notices(
            actor=alice,
            choices=[services.Choice("api_key_made", "mail", True), choice],
            zone="Europe/Oslo",
        )
    assert refused.value.code == code
    assert not NoticeChoice.objects.exists()
    assert services.zone_name_of(user_id=alice.user_id) == ""


def test_a_zone_that_nobody_knows_and_too_many_choices_are_refused() -> None:
    alice = cast.person("alice")
    many = [services.Choice("api_key_made", "mail", True)] * 201
    for choices, zone, code in (
        (many, None, "too_many_choices"),
        ([], "../x", "time_zone_unknown"),
    ):
        with pytest.raises(Invalid) as refused:
            services.choose_notices(actor=alice, choices=choices, zone=zone)
        assert refused.value.code == code


def test_a_key_without_the_permission_neither_reads_nor_chooses() -> None:
    alice = cast.person("alice")
    _, plain = services.create_api_key(actor=alice, name="ci", scopes=["offer:read"])
    client = APIClient(headers={"X-API-Key": plain})
    for path in ("notices/", "notice-choices/"):
        assert refusal(client.get(f"/api/v1/{path}")) == (403, "permission_missing")


def test_other_peoples_notices_are_neither_seen_nor_read() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    key_made(alice)
    [notice] = Notice.objects.all()
    client = api_of(carol)
    data = client.get("/api/v1/notices/").json()["data"]
    assert data == {"rows": [], "next": None, "unread": 0}
    path = f"/api/v1/notices/{notice.pk}/read/"
    assert refusal(client.post(path, {}, "json")) == (404, "notice_unknown")
    assert client.post("/api/v1/notices/read/", {}, "json").json()["data"] == {"read": 0}
    page = signed_in(carol)
    assert page.get(f"/notifications/{notice.pk}/").status_code == 404
    assert b"API key" not in page.get("/notifications/").content.partition(b"<main")[2]
    with pytest.raises(NotFound):
        services.read_notice(actor=carol, notice_id=notice.pk)
    notice.refresh_from_db()
    assert notice.read_at is None


def test_the_api_lists_page_by_page_and_reads_one_or_up_to_one() -> None:
    alice = cast.person("alice")
    for count in range(53):
        key_made(alice, f"key {count}", key=str(count))
    client = api_of(alice)
    first = client.get("/api/v1/notices/").json()["data"]
    assert (len(first["rows"]), first["unread"]) == (50, 53)
    assert first["rows"][0]["title"] == "API key made: key 52"
    assert first["rows"][0]["path"] == "/api-keys/"
    rest = client.get(f"/api/v1/notices/?before={first['next']}").json()["data"]
    assert [row["params"]["name"] for row in rest["rows"]] == ["key 2", "key 1", "key 0"]
    assert rest["next"] is None
    newest = first["rows"][0]["id"]
    told = client.post(f"/api/v1/notices/{newest}/read/", {}, "json").json()["data"]
    assert told["read_at"] is not None
    seen = first["rows"][10]["id"]
    answer = client.post("/api/v1/notices/read/", {"until": seen}, "json")
    assert answer.json()["data"] == {"read": 43}
    assert client.get("/api/v1/notices/").json()["data"]["unread"] == 9
    answer = client.post("/api/v1/notices/read/", {}, "json")
    assert answer.json()["data"] == {"read": 9}


@pytest.mark.parametrize("cursor", ["", "-1", "x", "9" * 30, "1.5", "١"])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    alice = cast.person("alice")
    answer = api_of(alice).get("/api/v1/notices/", {"before": cursor})
    assert refusal(answer) == (400, "cursor_invalid")


def test_choices_are_read_and_changed_by_api() -> None:
    alice = cast.person("alice")
    client = api_of(alice)
    data = client.get("/api/v1/notice-choices/").json()["data"]
    assert data["time_zone"] == "UTC"
    assert [row["code"] for row in data["choices"]] == list(CATALOGUE)
    fixed = next(row for row in data["choices"] if row["code"] == "sign_in_new")
    assert fixed["channels"] == {
        "page": {"on": True, "fixed": True},
        "mail": {"on": True, "fixed": True},
    }
    body = {"choices": [{"code": "sign_in_new", "channel": "mail", "on": False}]}
    answer = client.put("/api/v1/notice-choices/", body, "json")
    assert refusal(answer) == (409, "notice_fixed")
    answer = client.put("/api/v1/notice-choices/", {"time_zone": "Asia/Tokyo"}, "json")
    assert answer.json()["data"]["time_zone"] == "Asia/Tokyo"


def test_the_page_lists_counts_and_opens_what_a_notice_is_about() -> None:
    alice = cast.person("alice")
    key_made(alice, "<script>alert(1)</script>")
    client = signed_in(alice)
    page = client.get("/notifications/").content.decode()
    assert "API key made: &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert bell_of(page) == "1"
    [notice] = Notice.objects.all()
    answer = client.get(f"/notifications/{notice.pk}/")
    assert (answer.status_code, answer["Location"]) == (302, "/api-keys/")
    assert bell_of(client.get("/notifications/bell/").content.decode()) == "0"


def bell_of(page: str) -> str:
    """Return what the bell counts."""
    return page.partition('id="bell"')[2].partition("</span>")[0].rpartition(">")[2]


def test_the_page_marks_what_it_showed_as_read_and_not_what_came_since() -> None:
    alice = cast.person("alice")
    for count in range(100):
        key_made(alice, key=str(count))
    client = signed_in(alice)
    page = client.get("/notifications/")
    assert bell_of(page.content.decode()) == "99+"
    key_made(alice, key="later")
    client.post("/notifications/read/", {"until": page.context["newest"]})
    assert services.unread_count(user_id=alice.user_id) == 1
    assert client.get("/notifications/read/").status_code == 405


def test_the_page_of_choices_switches_each_channel_and_sets_the_clock() -> None:
    alice = cast.person("alice")
    client = signed_in(alice)
    page = client.get("/notifications/choices/")
    switches = [
        f"{row['code']}.{channel}"
        for _, rows in page.context["groups"]
        for row in rows
        for channel, switch in row["channels"].items()
        if not switch["fixed"] and switch["on"]
    ]
    answer = client.post(
        "/notifications/choices/", {"on": switches[1:], "zone": "Europe/Oslo"}, follow=True
    )
    assert b"Saved." in answer.content
    assert services.zone_name_of(user_id=alice.user_id) == "Europe/Oslo"
    off = [f"{row.code}.{row.channel}" for row in NoticeChoice.objects.filter(on=False)]
    assert off == switches[:1]
    refused = client.post("/notifications/choices/", {"zone": "Mars/Base"})
    assert b"Mars/Base is not one" in refused.content
    assert services.zone_name_of(user_id=alice.user_id) == "Europe/Oslo"


def test_a_visitor_has_no_bell_and_is_asked_to_sign_in() -> None:
    client = Client()
    assert 'id="bell"' not in client.get("/").content.decode()
    assert client.get("/notifications/").status_code == 302
    assert APIClient().get("/api/v1/notices/").status_code == 401


def test_old_notices_are_forgotten_and_young_ones_kept() -> None:
    alice = cast.person("alice")
    with time_machine.travel(NOON, tick=False) as now:
        key_made(alice)
        now.shift(dt.timedelta(days=180))
        key_made(alice, key="k2")
        assert services.forget_notices() == 0
        now.shift(dt.timedelta(seconds=1))
        assert services.forget_notices() == 1
        assert [notice.key for notice in Notice.objects.all()] == ["api_key_made:k2"]


def test_the_clocks_doors_send_and_forget() -> None:
    alice = cast.person("alice")
    key_made(alice)
    tasks.send_mail_due()
    tasks.forget_notices()
    assert [notice.mail for notice in Notice.objects.all()] == ["sent"]
