"""No entry of the catalogue that cannot happen: each is caused through the real services, every event told twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.core import mail

from accounts import reconcile
from accounts import services as accounts
from accounts.models import Notice
from accounts.notices import AUDIENCES, CATALOGUE, MAIL
from core.models import OutboxMessage
from rentals import probing
from tests import cast
from tests.doors import pages_of
from tests.notices import account, earning, hosting, money, prices, renting
from tests.notices.stage import Stage

pytestmark = pytest.mark.django_db
CAUSES = {
    **account.CAUSES,
    **money.CAUSES,
    **renting.CAUSES,
    **prices.CAUSES,
    **hosting.CAUSES,
    **earning.CAUSES,
}


@pytest.fixture
def stage(drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        stage = Stage(drain, traveller)
        monkeypatch.setattr(probing, "look", stage.look)
        yield stage


@pytest.mark.unit
def test_every_entry_has_a_cause_and_every_cause_an_entry() -> None:
    assert CAUSES.keys() == CATALOGUE.keys()


@pytest.mark.unit
def test_there_is_at_least_as_much_as_elsewhere() -> None:
    counts = {audience: [] for audience in AUDIENCES}  # type: dict[str, list[str]]
    for entry in CATALOGUE.values():
        counts[entry.audience].append(entry.code)
    assert len(counts["account"]) >= 4
    assert len(counts["renter"]) >= 3 + 16
    assert len(counts["host"]) >= 7


@pytest.mark.parametrize("code", CATALOGUE)
def test_it_happens_once_to_the_right_person_with_a_page_that_opens(
    stage: Stage, code: str
) -> None:
    CAUSES[code](stage)
    stage.drain()
    assert not OutboxMessage.objects.exists()
    entry = CATALOGUE[code]
    told = stage.bob if entry.audience == "host" else stage.alice
    [notice] = Notice.objects.filter(code=code, shown=True)
    assert notice.user_id == told.user_id
    worded = accounts.word(notice)
    for text in (worded.title, worded.body):
        assert "{" not in text
        assert "–" not in text
        assert "None" not in text
    assert pages_of(told).get(worded.path, follow=True).status_code == 200
    stranger = pages_of(cast.person("carol")).get(f"/notifications/{notice.pk}/")
    assert stranger.status_code == 404
    reconcile.send_mail_due()
    subjects = [sent.subject for sent in mail.outbox]
    assert subjects.count(worded.title) == (MAIL in entry.on)


def test_a_name_with_a_line_in_it_makes_no_header(stage: Stage) -> None:
    """No door takes such a name today; the mail does not rely on it."""
    stage.running()
    stage.rental.node.name = "atlas\r\nBcc: carol@example.org"
    stage.rental.node.save(update_fields=["name"])
    stage.sign = probing.Sign.CLOSED
    stage.pass_time(30)
    stage.pass_time(30)
    mail.outbox.clear()
    reconcile.send_mail_due()
    [sent] = [sent for sent in mail.outbox if "not answering" in sent.subject]
    assert sent.message()["Subject"] == "atlas Bcc: carol@example.org is not answering"
    assert sent.message()["Bcc"] is None


def test_a_machine_that_comes_and_goes_is_one_mail_each_way_and_every_time_in_the_page(
    stage: Stage,
) -> None:
    stage.running()
    for _ in range(3):
        stage.sign = probing.Sign.CLOSED
        stage.pass_time(30)
        stage.pass_time(30)
        stage.sign = probing.Sign.ANSWERS
        stage.pass_time(30)
    for code in ("rental_unreachable", "rental_reachable"):
        mails = [notice.mail for notice in Notice.objects.filter(code=code).order_by("pk")]
        assert mails == ["due", "none", "none"]


def test_a_first_sign_in_and_one_from_the_same_browser_and_network_are_not_news(
    stage: Stage,
) -> None:
    account.new_sign_in(stage)
    [notice] = Notice.objects.filter(code="sign_in_new", shown=True)
    assert notice.params["browser"] == "Chrome on Windows"


def test_mail_about_a_new_address_goes_to_the_one_before(stage: Stage) -> None:
    old = accounts.email_of(user_id=stage.alice.user_id)
    account.email_changed(stage)
    reconcile.send_mail_due()
    assert [sent.to for sent in mail.outbox] == [[old]]
    assert f"signs in as new-{old} instead of {old}" in mail.outbox[0].body


def test_a_disk_that_lives_on_its_reserve_is_told_with_the_second_at_which_it_goes(
    stage: Stage,
) -> None:
    money.balance_used_up(stage)
    notice = Notice.objects.get(code="disk_on_reserve")
    until = int(notice.params["until"])
    stage.traveller.move_to(until - 1)
    stage.pass_time(0)
    assert stage.rental.state == "stopped"
    stage.pass_time(2)
    stage.rental.refresh_from_db()
    assert (stage.rental.state, (stage.rental.end or {})["code"]) == ("stopping", "disk_unpaid")
