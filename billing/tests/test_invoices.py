"""Invoices for a month's use and credit notes: exact, numbered without gaps, the same for ever."""

from __future__ import annotations

import datetime as dt
import importlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from pypdf import PdfReader

from accounts.actors import Actor
from billing import services, tasks
from billing.apps import invoices_have_a_seller
from billing.models import BillingDetails, Invoice, Meter, Month, NumberSeries
from billing.papers import pdf
from billing.services.buyers import REVERSE_CHARGE
from billing.services.invoices import fingerprint
from core import money
from core.errors import DomainError
from core.ids import new_id
from tests import cast
from tests.doors import api_of, pages_of, refusal

pytestmark = pytest.mark.django_db
USD = money.NANO
# 0.36 USD an hour.
RATE = 100_000
ROOT = "/api/v1/invoices/"
EVIL = '<img src="http://{host}/steal"><script>alert(1)</script>'


@pytest.fixture
def traveller(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    monkeypatch.setattr(settings.DC, "seller_name", "Example Compute AS")
    monkeypatch.setattr(settings.DC, "seller_address", "Street 1|0150 Oslo")
    monkeypatch.setattr(settings.DC, "seller_country", "NO")
    monkeypatch.setattr(settings.DC, "vat_rates", "NO=25,DE=19,CH=8.1")
    with time_machine.travel("2026-10-30T12:00:00Z", tick=False) as moving:
        yield moving


def used(alice: Actor, bob: Actor, traveller: time_machine.Traveller, seconds: int) -> Meter:
    """Let alice use something of bob's for so long, posted at its end."""
    meter = services.open_meter(
        actor=alice, kind="compute", owner_id=alice.user_id, payee_id=bob.user_id, rate=RATE,
        fee_bps=1000, subject_id=new_id(),
    )  # fmt: skip
    traveller.shift(seconds)
    return services.close_meter(actor=alice, meter_id=meter.pk)


def invoiced(
    alice: Actor, traveller: time_machine.Traveller, seconds: int = 36_000
) -> tuple[Invoice, Meter]:
    """An invoice of October for so long, issued on the first of November."""
    meter = used(alice, cast.person("bob"), traveller, seconds)
    traveller.move_to("2026-11-01T00:10:00Z")
    tasks.close_months()
    return Invoice.objects.get(owner_id=alice.user_id), meter


def lives_in(actor: Actor, **fields: str) -> BillingDetails:
    empty = {"name": "", "company": "", "address": "", "country": "", "vat_id": ""}
    return services.set_details(actor=actor, **{**empty, **fields})


def text_of(document: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(document)).pages)


def test_a_months_use_is_invoiced_once_with_seller_buyer_lines_and_tax(
    traveller: time_machine.Traveller,
) -> None:
    alice = cast.person("alice", usd=10)
    lives_in(
        alice, name="Alice A.", company="A GmbH", address=" Weg 1 \n\n 10115 Berlin ", country="de"
    )
    invoice, meter = invoiced(alice, traveller)
    data = invoice.data
    assert (invoice.number, data["issued"], data["month"]) == (
        "INV-2026-000001",
        "2026-11-01",
        "2026-10",
    )
    assert data["seller"]["address"] == "Street 1\n0150 Oslo"
    assert {key: data["buyer"][key] for key in ("name", "company", "address", "country")} == {
        "name": "Alice A.",
        "company": "A GmbH",
        "address": "Weg 1\n10115 Berlin",
        "country": "DE",
    }
    assert data["lines"] == [
        {
            "rental": str(meter.subject_id),
            "what": "compute",
            "seconds": 36_000,
            "hourly": "0.36",
            "amount": "3.60",
        }
    ]
    # 3.60 x 19 / 119 = 0.5748
    assert (data["net"], data["vat_percent"], data["vat"], data["total"]) == (
        "3.03",
        "19",
        "0.57",
        "3.60",
    )
    tasks.close_months()
    services.issue_invoices()
    assert Invoice.objects.count() == 1
    assert invoice.sha256 == fingerprint(data)
    assert services.verify_ledger() == []


@pytest.mark.parametrize(
    ("country", "vat_id", "seller", "percent", "vat", "note"),
    [
        ("NO", "", "NO", "25", "0.72", ""),
        ("CH", "", "NO", "8.1", "0.27", ""),
        ("US", "", "NO", "0", "0.00", "No VAT is charged."),
        ("", "", "NO", "25", "0.72", ""),
        ("DE", "DE136695976", "FR", "0", "0.00", REVERSE_CHARGE),
        ("DE", "", "FR", "19", "0.57", ""),
        ("DE", "DE136695976", "DE", "19", "0.57", ""),
    ],
)
def test_the_tax_in_the_price_follows_the_buyers_country_and_vat_id(
    traveller: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    country: str,
    vat_id: str,
    seller: str,
    percent: str,
    vat: str,
    note: str,
) -> None:
    monkeypatch.setattr(settings.DC, "seller_country", seller)
    alice = cast.person("alice", usd=10)
    lives_in(alice, country=country, vat_id=vat_id)
    data = invoiced(alice, traveller)[0].data
    assert (data["vat_percent"], data["vat"], data["vat_note"]) == (percent, vat, note)


def test_what_is_issued_keeps_the_buyer_as_they_were(traveller: time_machine.Traveller) -> None:
    alice = cast.person("alice", usd=10)
    lives_in(alice, name="Before")
    invoice, _ = invoiced(alice, traveller)
    lives_in(alice, name="After")
    invoice.refresh_from_db()
    assert invoice.data["buyer"]["name"] == "Before"
    for attempt in (
        lambda: Invoice.objects.update(total=1),
        lambda: Invoice.objects.all().delete(),
        lambda: NumberSeries.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE billing_invoice DISABLE TRIGGER USER")
        cursor.execute("""UPDATE billing_invoice SET data = jsonb_set(data, '{total}', '"9.99"')""")
    with pytest.raises(CommandError, match="INV-2026-000001: its content is not what was issued"):
        call_command("ledger_verify")


def test_what_comes_back_of_an_invoiced_month_has_a_credit_note_that_names_the_invoice(
    traveller: time_machine.Traveller,
) -> None:
    alice = cast.person("alice", usd=10)
    invoice, meter = invoiced(alice, traveller)
    assert meter.ended is not None
    services.take_back(actor=alice, subject_id=meter.subject_id, since=meter.ended - 10_000)
    used(alice, cast.person("bob"), traveller, 3600)
    traveller.move_to("2026-12-01T00:10:00Z")
    tasks.close_months()
    note = Invoice.objects.get(paper="credit_note")
    november = Invoice.objects.get(paper="invoice", month=dt.date(2026, 11, 1))
    assert (note.number, note.corrects, note.data["corrects"]) == (
        "CN-2026-000001",
        invoice,
        "INV-2026-000001",
    )
    assert (note.data["total"], note.data["lines"][0]["seconds"]) == ("1.00", 10_000)
    assert (november.number, november.data["total"]) == ("INV-2026-000002", "0.36")
    assert services.verify_ledger() == []


def test_what_comes_back_within_its_month_is_not_invoiced_at_all(
    traveller: time_machine.Traveller,
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    whole, part = used(alice, bob, traveller, 3600), used(alice, bob, traveller, 3600)
    for meter, kept in ((whole, 0), (part, 1800)):
        services.take_back(actor=alice, subject_id=meter.subject_id, since=meter.started + kept)
    traveller.move_to("2026-11-01T00:10:00Z")
    tasks.close_months()
    [invoice] = Invoice.objects.all()
    assert [(line["seconds"], line["amount"]) for line in invoice.data["lines"]] == [(1800, "0.18")]


def test_less_than_half_a_cent_is_not_worth_a_number(traveller: time_machine.Traveller) -> None:
    alice = cast.person("alice", usd=10)
    used(alice, cast.person("bob"), traveller, 49)
    traveller.move_to("2026-11-01T00:10:00Z")
    tasks.close_months()
    assert not Invoice.objects.exists()
    assert Month.objects.get().invoiced_at is not None


def test_many_rentals_stand_in_one_line_together_and_still_add_up(
    traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.services.invoices.MOST_LINES", 2)
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    for seconds in (333, 777, 1111, 5555):
        used(alice, bob, traveller, seconds)
    traveller.move_to("2026-11-01T00:10:00Z")
    tasks.close_months()
    data = Invoice.objects.get().data
    assert [line["what"] for line in data["lines"][:2]] == ["compute", "compute"]
    assert data["lines"][2]["what"].startswith("2 further positions")
    shown = sum(round(float(line["amount"]) * 100) for line in data["lines"])
    assert shown == round(float(data["total"]) * 100) == 78


@pytest.mark.django_db(transaction=True)
def test_sixteen_threads_give_numbers_without_gaps_and_nobody_two() -> None:
    with time_machine.travel("2026-10-30T12:00:00Z", tick=False) as traveller:
        people, bob = [cast.person("alice", usd=1) for _ in range(24)], cast.person("bob")
        meters = [
            services.open_meter(
                actor=one, kind="compute", owner_id=one.user_id, payee_id=bob.user_id, rate=RATE,
                fee_bps=1000, subject_id=new_id(),
            )
            for one in people
        ]  # fmt: skip
        traveller.shift(3600)
        for meter in meters:
            services.close_meter(actor=bob, meter_id=meter.pk)
        traveller.move_to("2026-11-01T00:10:00Z")
        services.close_months()
        start = threading.Barrier(16)

        def issue(_: int) -> int:
            start.wait(30)
            try:
                return services.issue_invoices()
            finally:
                connection.close()

        with ThreadPoolExecutor(16) as pool:
            issued = sum(pool.map(issue, range(16)))
        assert issued == 24
        assert sorted(Invoice.objects.values_list("seq", flat=True)) == list(range(1, 25))
        assert Invoice.objects.values("owner_id").distinct().count() == 24
        assert NumberSeries.objects.get().last == 24
        assert services.verify_ledger() == []


def test_the_pdf_says_what_was_issued(traveller: time_machine.Traveller) -> None:
    alice = cast.person("alice", usd=10)
    lives_in(alice, company="A GmbH", country="DE", address="Weg 1\n10115 Berlin")
    invoice, _ = invoiced(alice, traveller)
    answer = api_of(alice).get(f"{ROOT}{invoice.pk}/pdf/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
    assert answer["Content-Disposition"] == 'attachment; filename="INV-2026-000001.pdf"'
    shown = text_of(answer.content)
    for words in ("INV-2026-000001", "Example Compute AS", "A GmbH", "10115 Berlin", "36000",
                  "3.60", "3.03", "0.57", "19 %"):  # fmt: skip
        assert words in shown, words
    again = pages_of(alice).get(f"/invoices/{invoice.pk}/pdf/")
    assert again.content == answer.content


def test_hostile_names_stay_text_and_nothing_is_fetched(traveller: time_machine.Traveller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        host = f"127.0.0.1:{trap.getsockname()[1]}"
        alice = cast.person("alice", usd=10)
        evil = EVIL.format(host=host)
        lives_in(alice, name=evil, address="</style><link rel=stylesheet href=file:///etc/passwd>")
        invoice, _ = invoiced(alice, traveller)
        shown = "".join(text_of(pdf.pdf_of(invoice.data)).split())
        assert "".join(evil.split()) in shown
        assert "root:x:" not in shown
        # Were the text markup, this would have been asked for.
        direct = pdf._library().HTML(
            string=f"<img src='http://{host}/x'>", url_fetcher=pdf.nothing()
        )
        direct.write_pdf()
        with pytest.raises(TimeoutError):
            trap.accept()
    page = pages_of(alice).get(f"/invoices/{invoice.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_without_the_systems_library_the_answer_says_so_and_the_page_still_works(
    traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"cannot load library of {name}")

    alice = cast.person("alice", usd=10)
    invoice, _ = invoiced(alice, traveller)
    pdf._library.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    assert refusal(api_of(alice).get(f"{ROOT}{invoice.pk}/pdf/")) == (503, "pdf_unavailable")
    assert "INV-2026-000001" in pages_of(alice).get(f"/invoices/{invoice.pk}/").content.decode()


def test_the_api_lists_and_shows_ones_own_and_nobody_elses(
    traveller: time_machine.Traveller,
) -> None:
    alice, carol = cast.person("alice", usd=10), cast.person("carol")
    invoice, _ = invoiced(alice, traveller)
    told = api_of(alice).get(ROOT).json()["data"]
    assert ([row["number"] for row in told["rows"]], told["next"]) == (["INV-2026-000001"], None)
    shown = api_of(alice).get(f"{ROOT}{invoice.pk}/").json()["data"]
    assert (shown["sha256"], shown["total"]) == (invoice.sha256, "3.60")
    for path in (f"{ROOT}{invoice.pk}/", f"{ROOT}{invoice.pk}/pdf/"):
        assert refusal(api_of(carol).get(path)) == (404, "invoice_unknown")
    for path in (f"/invoices/{invoice.pk}/", f"/invoices/{invoice.pk}/pdf/"):
        assert pages_of(carol).get(path).status_code == 404
    assert api_of(carol).get(ROOT).json()["data"]["rows"] == []
    dora = cast.person("dora", is_staff=True)
    assert api_of(dora).get(f"{ROOT}{invoice.pk}/").status_code == 200


def test_invoices_come_page_by_page(
    traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.papers.api.PAGE", 1)
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    for month in ("2026-11-01", "2026-12-01"):
        used(alice, bob, traveller, 3600)
        traveller.move_to(f"{month}T00:10:00Z")
        tasks.close_months()
    assert numbers_of(alice) == ["INV-2026-000002", "INV-2026-000001"]
    for before in ("-1", "9" * 18, str(new_id())):
        assert refusal(api_of(alice).get(ROOT, {"before": before})) == (400, "cursor_invalid")
    other = api_of(cast.person("carol"))
    theirs = Invoice.objects.values_list("pk", flat=True).first()
    assert refusal(other.get(ROOT, {"before": str(theirs)})) == (400, "cursor_invalid")


def numbers_of(actor: Actor) -> list[str]:
    """Return the numbers of all that the API lists, page by page to its end."""
    numbers, page = [], api_of(actor).get(ROOT).json()["data"]
    while True:
        numbers += [row["number"] for row in page["rows"]]
        if page["next"] is None:
            return numbers
        page = api_of(actor).get(ROOT, {"before": page["next"]}).json()["data"]


def test_invoices_of_the_same_instant_are_all_listed_wherever_a_page_ends(
    traveller: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = cast.person("alice", usd=10), cast.person("bob")
    for month in ("2026-11-15", "2026-12-15", "2027-01-01"):
        used(alice, bob, traveller, 3600)
        traveller.move_to(f"{month}T00:10:00Z")
    tasks.close_months()
    assert Invoice.objects.values("issued_at").distinct().count() == 1
    everything = {f"INV-2027-{seq:06d}" for seq in (1, 2, 3)}
    for size in (1, 2, 3):
        monkeypatch.setattr("billing.papers.api.PAGE", size)
        listed = numbers_of(alice)
        assert (set(listed), len(listed)) == (everything, 3)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"country": "XX"}, "country_unknown"),
        ({"country": "DE", "vat_id": "DE136695977"}, "vat_id_invalid"),
        ({"country": "FR", "vat_id": "DE136695976"}, "vat_id_invalid"),
        ({"vat_id": "DE136695976"}, "vat_id_invalid"),
        ({"country": "US", "vat_id": "=1+1"}, "vat_id_invalid"),
        ({"name": "x" * 121}, "details_too_long"),
        ({"address": "x" * 501}, "details_too_long"),
        ({"company": "a\u0007b"}, "details_unprintable"),
        ({"name": "a\x00b"}, "invalid"),
    ],
)
def test_details_that_make_no_sense_are_refused_and_change_nothing(
    fields: dict[str, str], code: str
) -> None:
    alice = cast.person("alice")
    lives_in(alice, name="Alice")
    assert refusal(api_of(alice).put("/api/v1/billing-details/", fields, format="json")) == (
        400,
        code,
    )
    assert services.details_of(owner_id=alice.user_id).name == "Alice"


@pytest.mark.parametrize(
    ("country", "given", "kept"),
    [
        ("DE", "de 136.695-976", "DE136695976"),
        ("DE", "136695976", "DE136695976"),
        ("GR", "EL094259216", "EL094259216"),
        ("US", "12-3456789", "123456789"),
        ("NO", "", ""),
    ],
)
def test_a_vat_id_is_kept_in_one_form(country: str, given: str, kept: str) -> None:
    alice = cast.person("alice")
    fields = {"country": country, "vat_id": given}
    told = api_of(alice).put("/api/v1/billing-details/", fields, format="json").json()["data"]
    assert told["vat_id"] == kept
    assert api_of(alice).get("/api/v1/billing-details/").json()["data"] == told


def test_the_page_lists_invoices_and_keeps_whom_they_are_made_out_to(
    traveller: time_machine.Traveller,
) -> None:
    alice = cast.person("alice", usd=10)
    invoiced(alice, traveller)
    browser = pages_of(alice)
    shown = browser.get("/invoices/").content.decode()
    assert "INV-2026-000001" in shown
    assert "3.60 USD" in shown
    answer = browser.post("/invoices/", {"company": "A GmbH", "country": "DE"})
    assert answer.status_code == 302
    assert services.details_of(owner_id=alice.user_id).company == "A GmbH"
    assert browser.post("/invoices/", {"country": "XX"}).status_code == 400
    assert services.details_of(owner_id=alice.user_id).country == "DE"
    with pytest.raises(DomainError, match="no such invoice"):
        services.invoice_of(actor=cast.person("carol"), invoice_id=Invoice.objects.get().pk)


def test_production_insists_on_a_seller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoices_have_a_seller() == []
    monkeypatch.setattr(settings.DC, "mode", "production")
    [found] = invoices_have_a_seller()
    assert found.id == "billing.E002"
    monkeypatch.setattr(settings.DC, "seller_name", "Example Compute AS")
    monkeypatch.setattr(settings.DC, "seller_address", "Street 1")
    assert invoices_have_a_seller() == []


def test_whoever_gets_an_invoice_is_told_once_and_led_to_it(
    traveller: time_machine.Traveller, drain: Callable[[], int]
) -> None:
    alice = cast.person("alice", usd=10)
    invoice, _ = invoiced(alice, traveller)
    drain()
    services.tell_of_invoice(invoice_id=invoice.pk)
    rows = api_of(alice).get("/api/v1/notices/").json()["data"]["rows"]
    [told] = [row for row in rows if row["code"] == "invoice_issued"]
    assert told["title"] == "INV-2026-000001 over $3.60"
    assert str(invoice.pk) in str(told)
