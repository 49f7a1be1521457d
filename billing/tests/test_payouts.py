"""Payouts: asked for once, decided by somebody else, sent once, and given back when they are not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import time_machine
from django.conf import settings
from django.core import checks
from django.core.management import CommandError, call_command
from django.test import Client
from pydantic import SecretStr
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User
from billing import reconcile, services, tasks
from billing.apps import payouts_are_real
from billing.models import Account, Payout, Transfer
from billing.providers import ProviderAway, ProviderRefuses, Sent
from billing.providers.payouts import FakePayouts, StripePayouts
from billing.tests.hosts import USD, have, use
from billing.tests.payments import DISPUTED, PAID, asked, dispute, paid, send, set_aside
from core import clock
from core.errors import Conflict, Forbidden, FundsInsufficient, Invalid, NotFound
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]
IBAN = "NO93 8601 1117 947"


@pytest.fixture
def bob() -> Iterator[Actor]:
    """A host with 90 dollars that have matured; the clock stands still two days later."""
    alice, bob = cast.person("alice"), cast.person("bob", role="LEASE")
    use(alice, bob, usd=100)
    with time_machine.travel(clock.now() + dt.timedelta(days=2), tick=False):
        services.mature_earnings()
        yield bob


def ask(host: Actor, usd: float = 30, *, key: str = "", to: str = IBAN) -> Payout:
    return services.request_payout(
        actor=host, amount=int(usd * USD), destination=to, idempotency_key=key or str(new_id())
    )


def state(payout: Payout) -> str:
    payout.refresh_from_db()
    return payout.state


def test_a_payout_leaves_what_is_free_at_once_and_arrives(bob: Actor, dora: Actor) -> None:
    payout = ask(bob)
    assert have(bob) == (0, 60 * USD, 0)
    tasks.send_payouts()
    assert state(payout) == "requested"
    services.approve_payout(actor=dora, payout_id=payout.pk)
    services.approve_payout(actor=dora, payout_id=payout.pk)
    tasks.send_payouts()
    tasks.send_payouts()
    assert (state(payout), payout.ref) == ("paid", f"fake-{payout.pk}")
    assert have(bob) == (0, 60 * USD, 0)
    sent = Transfer.objects.filter(group_id=payout.pk).values_list("kind", "amount")
    assert sorted(sent) == [("payout", 30 * USD), ("payout_sent", 30 * USD)]
    assert IBAN not in Payout.objects.values_list("destination", flat=True).get()


def test_the_same_key_is_the_same_payout(bob: Actor) -> None:
    first = ask(bob, key="k")
    assert ask(bob, key="k").pk == first.pk
    with pytest.raises(Conflict) as refused:
        ask(bob, 31, key="k")
    assert refused.value.code == "idempotency_key_reused"
    assert have(bob) == (0, 60 * USD, 0)


@pytest.mark.parametrize("amount", [-1, 0, 1, 20 * USD - 1, 20 * USD + 1, 100_001 * USD, 10**30])
def test_amounts_that_are_not_paid_out_change_nothing(bob: Actor, amount: int) -> None:
    with pytest.raises(Invalid) as refused:
        services.request_payout(actor=bob, amount=amount, destination=IBAN, idempotency_key="k")
    assert refused.value.code == "amount_range"
    assert (have(bob), Payout.objects.count()) == ((0, 90 * USD, 0), 0)


def test_more_than_is_free_an_account_that_is_none_and_renters_are_refused(bob: Actor) -> None:
    with pytest.raises(FundsInsufficient) as short:
        ask(bob, 91)
    assert short.value.data["payable"] == "90.00"
    with pytest.raises(Invalid) as nowhere:
        ask(bob, to="x")
    assert nowhere.value.code == "destination_invalid"
    with pytest.raises(Forbidden):
        ask(cast.person("carol", role="RENT"))
    assert (have(bob), Payout.objects.count()) == ((0, 90 * USD, 0), 0)


def test_a_refused_and_a_taken_back_payout_are_free_again(bob: Actor, dora: Actor) -> None:
    refused, kept = ask(bob), ask(bob)
    services.refuse_payout(actor=dora, payout_id=refused.pk, reason="  Not  your account. ")
    assert (state(refused), refused.note) == ("refused", "Not your account.")
    services.approve_payout(actor=dora, payout_id=kept.pk)
    services.cancel_payout(actor=bob, payout_id=kept.pk)
    assert (state(kept), have(bob)) == ("refused", (0, 90 * USD, 0))
    for again in (
        lambda: services.approve_payout(actor=dora, payout_id=kept.pk),
        lambda: services.cancel_payout(actor=bob, payout_id=kept.pk),
        lambda: services.refuse_payout(actor=dora, payout_id=kept.pk, reason="x"),
    ):
        with pytest.raises(Conflict) as decided:
            again()  # type: ignore[no-untyped-call]
        assert decided.value.code == "payout_decided"
    tasks.send_payouts()
    assert (state(kept), have(bob)) == ("refused", (0, 90 * USD, 0))


def test_who_may_decide(bob: Actor, dora: Actor) -> None:
    payout = ask(bob)
    carol = cast.person("carol")
    with pytest.raises(Forbidden):
        services.approve_payout(actor=bob, payout_id=payout.pk)
    with pytest.raises(NotFound):
        services.cancel_payout(actor=carol, payout_id=payout.pk)
    with pytest.raises(NotFound):
        services.payout_of(actor=carol, payout_id=payout.pk)
    with pytest.raises(NotFound):
        services.approve_payout(actor=dora, payout_id=new_id())
    with pytest.raises(Invalid) as silent:
        services.refuse_payout(actor=dora, payout_id=payout.pk, reason=" ")
    assert silent.value.code == "reason_missing"
    with pytest.raises(Conflict) as manual:
        services.confirm_payout(actor=dora, payout_id=payout.pk, reference="x")
    assert manual.value.code == "payout_not_manual"
    assert services.payout_of(actor=dora, payout_id=payout.pk).state == "requested"


def test_staff_do_not_approve_their_own(dora: Actor) -> None:
    use(cast.person("alice"), dora, usd=100)
    with time_machine.travel(clock.now() + dt.timedelta(days=2), tick=False):
        services.mature_earnings()
        payout = ask(dora)
        with pytest.raises(Forbidden) as own:
            services.approve_payout(actor=dora, payout_id=payout.pk)
        assert own.value.code == "payout_own"


def owe(host: Actor) -> None:
    """Let a host owe a dollar."""
    kind, owner = "host", host.user_id
    earned = Account.objects.get(kind=kind, owner_id=owner)
    debt = Account.objects.create(kind="host_debt", owner_id=owner, currency="USD")
    row = Transfer(
        group_id=new_id(),
        src=debt,
        dst=earned,
        amount=USD,
        kind="host_owed",
        created_at=clock.now(),
    )
    Transfer.objects.bulk_create([row])


def test_nothing_is_paid_while_something_is_owed(bob: Actor, dora: Actor) -> None:
    asked, approved = ask(bob), ask(bob)
    services.approve_payout(actor=dora, payout_id=approved.pk)
    owe(bob)
    with pytest.raises(Conflict) as frozen:
        ask(bob)
    assert (frozen.value.code, frozen.value.data["reason"]) == ("payouts_frozen", "host_owes")
    with pytest.raises(Conflict):
        services.approve_payout(actor=dora, payout_id=asked.pk)
    tasks.send_payouts()
    assert (state(asked), state(approved)) == ("requested", "approved")
    services.mature_earnings()
    tasks.send_payouts()
    assert state(approved) == "paid"


def test_nothing_is_paid_while_the_hosts_own_payment_is_disputed(bob: Actor) -> None:
    Account.objects.create(
        kind="wallet", owner_id=bob.user_id, currency="USD", floor=0, frozen=True
    )
    with pytest.raises(Conflict) as frozen:
        ask(bob)
    assert frozen.value.data["reason"] == "wallet_frozen"
    Account.objects.filter(owner_id=bob.user_id, kind="wallet").update(frozen=False)


class Payer(FakePayouts):
    """A provider at the border that can die before or after it has paid."""

    def __init__(self) -> None:
        self.paid: dict[object, int] = {}
        self.fails: list[Exception] = []
        self.dies_after = False

    def send(self, **asked: object) -> Sent:
        if self.fails:
            raise self.fails.pop()
        self.paid[asked["payout_id"]] = self.paid.get(asked["payout_id"], 0) or 1
        if self.dies_after:
            self.dies_after = False
            raise KeyboardInterrupt
        return Sent("tr_1")

    def find(self, *, payout_id: object) -> Sent | None:
        if self.fails:
            raise self.fails.pop()
        return Sent("tr_1") if payout_id in self.paid else None


@pytest.fixture
def payer(monkeypatch: pytest.MonkeyPatch) -> Payer:
    payer = Payer()
    monkeypatch.setattr(reconcile, "payout_provider", lambda: payer)
    return payer


def approved(bob: Actor, dora: Actor) -> Payout:
    return services.approve_payout(actor=dora, payout_id=ask(bob).pk)


def test_a_payout_is_sent_once_wherever_the_sender_dies(
    bob: Actor, dora: Actor, payer: Payer
) -> None:
    payout = approved(bob, dora)
    services.begin_sending(payout_id=payout.pk)  # and dies
    tasks.send_payouts()
    assert (state(payout), payer.paid) == ("paid", {payout.pk: 1})
    second = approved(bob, dora)
    payer.dies_after = True
    with pytest.raises(KeyboardInterrupt):
        tasks.send_payouts()
    assert state(second) == "sending"
    tasks.send_payouts()
    tasks.send_payouts()
    assert (state(second), payer.paid[second.pk], have(bob)) == ("paid", 1, (0, 30 * USD, 0))
    services.note_sent(payout_id=second.pk, ref="again")
    services.note_not_sent(payout_id=second.pk, why="late")
    assert (state(second), second.ref) == ("paid", "tr_1")


def test_a_provider_that_is_away_is_asked_again_and_one_that_refuses_gives_back(
    bob: Actor, dora: Actor, payer: Payer
) -> None:
    payout = approved(bob, dora)
    payer.fails = [ProviderAway("busy")]
    tasks.send_payouts()
    payer.fails = [ProviderAway("busy")]
    tasks.send_payouts()
    assert state(payout) == "sending"
    payer.fails = []
    tasks.send_payouts()
    assert state(payout) == "paid"
    refused = approved(bob, dora)
    payer.fails = [ProviderRefuses("no such account")]
    tasks.send_payouts()
    assert (state(refused), refused.note) == ("failed", "no such account")
    assert have(bob) == (0, 60 * USD, 0)


def test_a_payout_that_nobody_knows_after_a_day_is_given_back(
    bob: Actor, dora: Actor, payer: Payer
) -> None:
    payout = approved(bob, dora)
    services.begin_sending(payout_id=payout.pk)
    with time_machine.travel(clock.now() + dt.timedelta(hours=21), tick=False):
        tasks.send_payouts()
    assert (state(payout), payer.paid, have(bob)) == ("failed", {}, (0, 90 * USD, 0))


def test_at_the_bank_a_person_pays_and_writes_the_reference_down(
    bob: Actor, dora: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "payouts", "bank")
    paid, lost = approved(bob, dora), approved(bob, dora)
    with pytest.raises(Conflict):
        services.confirm_payout(actor=dora, payout_id=paid.pk, reference="early")
    tasks.send_payouts()
    tasks.send_payouts()
    assert (state(paid), state(lost)) == ("sending", "sending")
    services.confirm_payout(actor=dora, payout_id=paid.pk, reference="F-2026-11")
    services.reject_payout(actor=dora, payout_id=lost.pk, reason="account closed")
    assert (state(paid), paid.ref, state(lost)) == ("paid", "F-2026-11", "failed")
    assert have(bob) == (0, 60 * USD, 0)


def test_stripes_own_library_sends_and_finds_transfers(stripe_mock: str) -> None:
    payer = StripePayouts(secret_key="sk_test_123", api_base=stripe_mock)
    assert payer.check_destination("acct_1032D82eZvKYlo2C")
    assert not payer.check_destination(IBAN)
    sent = payer.send(
        payout_id=new_id(), amount=30 * USD, currency="USD", destination="acct_1032D82eZvKYlo2C"
    )
    assert sent.ref.startswith("tr_")
    assert payer.find(payout_id=new_id()) is not None  # the stand-in always knows one
    away = StripePayouts(secret_key="sk_test_123", api_base="http://127.0.0.1:1")
    with pytest.raises(ProviderAway):
        away.find(payout_id=new_id())


def test_the_settings_name_the_provider(monkeypatch: pytest.MonkeyPatch, bob: Actor) -> None:
    monkeypatch.setattr(settings.DC, "payouts", "stripe")
    monkeypatch.setattr(settings.DC, "stripe_secret_key", SecretStr("sk_test_123"))
    with pytest.raises(Invalid) as nowhere:
        ask(bob)
    assert nowhere.value.code == "destination_invalid"
    assert ask(bob, to="acct_1032D82eZvKYlo2C").provider == "stripe"


def test_production_refuses_pretended_payouts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert payouts_are_real() == []
    monkeypatch.setattr(settings.DC, "mode", "production")
    [found] = payouts_are_real()
    assert (found.id, found.level) == ("billing.E003", checks.CRITICAL)
    monkeypatch.setattr(settings.DC, "payouts", "bank")
    assert payouts_are_real() == []


def api_of(actor: Actor) -> APIClient:
    api = APIClient()
    api.force_authenticate(User.objects.get(pk=actor.user_id))
    return api


def test_staff_read_payouts_newest_first_also_while_some_are_decided(
    bob: Actor, dora: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [ask(bob, 20).pk for _ in range(4)]
    for older, pk in enumerate(reversed(made)):
        Payout.objects.filter(pk=pk).update(created_at=clock.now() - dt.timedelta(hours=older))
    newest = services.payouts_in(actor=dora, state="requested")
    assert [row.pk for row in newest] == made[::-1]
    services.approve_payout(actor=dora, payout_id=made[2])
    rest = services.payouts_in(actor=dora, state="requested", before=str(made[2]))
    assert [row.pk for row in rest] == [made[1], made[0]]


def test_the_api_does_all_of_it(bob: Actor, dora: Actor) -> None:
    host, staff = api_of(bob), api_of(dora)
    body = {"amount": "30.00", "destination": IBAN}
    made = host.post("/api/v1/payouts/", body, format="json", headers={"Idempotency-Key": "k"})
    again = host.post("/api/v1/payouts/", body, format="json", headers={"Idempotency-Key": "k"})
    assert (made.status_code, again.json()["data"]["id"]) == (201, made.json()["data"]["id"])
    pk = made.json()["data"]["id"]
    assert host.get(f"/api/v1/payouts/{pk}/").json()["data"]["to"] == "… 947"
    assert len(host.get("/api/v1/payouts/").json()["data"]) == 1
    [seen] = staff.get("/api/v1/staff/payouts/?state=requested").json()["data"]
    assert (seen["destination"], seen["owner_id"]) == (IBAN, str(bob.user_id))
    assert staff.get(f"/api/v1/staff/payouts/?before={pk}").json()["data"] == []
    for path, code, status in (
        ("?state=lost", "state_unknown", 400),
        ("?before=x", "cursor_invalid", 400),
    ):
        told = staff.get(f"/api/v1/staff/payouts/{path}")
        assert (told.status_code, told.json()["code"]) == (status, code)
    assert host.get("/api/v1/staff/payouts/").status_code == 403
    assert host.post(f"/api/v1/staff/payouts/{pk}/approve/").status_code == 403
    assert staff.post(f"/api/v1/staff/payouts/{pk}/burn/").json()["code"] == "decision_unknown"
    assert staff.post(f"/api/v1/staff/payouts/{pk}/approve/").json()["data"]["state"] == "approved"
    cancelled = host.post(f"/api/v1/payouts/{pk}/cancel/").json()["data"]
    assert (cancelled["state"], cancelled["cancellable"]) == ("refused", False)
    for amount in ("NaN", "-30", "1e3", "30.001", "19.99", "9" * 25):
        bad = host.post(
            "/api/v1/payouts/",
            body | {"amount": amount},
            format="json",
            headers={"Idempotency-Key": amount},
        )
        assert bad.status_code == 400
    assert have(bob) == (0, 90 * USD, 0)


@pytest.mark.parametrize(("decision", "ends"), [("refuse", "refused"), ("paid", "")])
def test_the_api_wants_words_with_a_decision(
    bob: Actor, dora: Actor, decision: str, ends: str
) -> None:
    payout, staff = ask(bob), api_of(dora)
    path = f"/api/v1/staff/payouts/{payout.pk}/{decision}/"
    assert staff.post(path).status_code in {400, 409}
    told = staff.post(path, {"text": "because"}, format="json")
    assert state(payout) == (ends or "requested")
    assert told.status_code == (200 if ends else 409)
    assert (
        staff.post(path.replace(decision, "failed"), {"text": "x"}, format="json").status_code
        == 409
    )


def test_the_page_asks_takes_back_and_says_what_is_wrong(client: Client, bob: Actor) -> None:
    client.force_login(User.objects.get(pk=bob.user_id))
    form = {"amount": "30", "destination": IBAN, "idempotency_key": "k"}
    assert client.post("/earnings/", form).status_code == 302
    page = client.get("/earnings/").content.decode()
    assert 'data-payout="requested"' in page
    payout = Payout.objects.get()
    client.post(f"/payouts/{payout.pk}/cancel/")
    assert state(payout) == "refused"
    too_much = client.post("/earnings/", form | {"amount": "1000", "idempotency_key": "j"})
    assert (too_much.status_code, have(bob)) == (402, (0, 90 * USD, 0))


def test_staff_decide_in_the_admin(
    client: Client, bob: Actor, dora: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.DC, "payouts", "bank")
    user = User.objects.get(pk=dora.user_id)
    user.is_superuser = True
    user.save()
    client.force_login(user)
    rows = [ask(bob, 20) for _ in range(4)]

    def act(action: str, payout: Payout, note: str = "") -> str:
        chosen = {"action": action, "_selected_action": [str(payout.pk)], "note": note}
        return client.post("/admin/billing/payout/", chosen, follow=True).content.decode()

    assert "done." in act("approve", rows[0])
    assert "is approved already" in act("confirm", rows[0], "x")
    tasks.send_payouts()
    assert "done." in act("confirm", rows[0], "REF-1")
    act("refuse", rows[1], "no")
    act("approve", rows[2])
    tasks.send_payouts()
    act("reject", rows[2], "closed")
    assert [state(row) for row in rows] == ["paid", "refused", "failed", "requested"]
    assert IBAN in client.get(f"/admin/billing/payout/{rows[3].pk}/change/").content.decode()


def test_ledger_verify_names_a_payout_that_does_not_add_up(bob: Actor) -> None:
    payout = ask(bob)
    Payout.objects.filter(pk=payout.pk).update(state="paid")
    with pytest.raises(CommandError, match=f"payout {payout.pk}: paid of 30000000000"):
        call_command("ledger_verify")
    Payout.objects.filter(pk=payout.pk).update(state="requested", amount=31 * USD)
    with pytest.raises(CommandError, match="has 30000000000 nano-units, 31000000000 are on their"):
        call_command("ledger_verify")
    Payout.objects.filter(pk=payout.pk).update(amount=30 * USD)


@pytest.mark.usefixtures("with_stripe")
def test_what_banks_ask_back_from_renters_stays(dora: Actor) -> None:
    alice, bob = cast.person("alice"), cast.person("bob", role="LEASE")
    deposit = asked(alice)
    send(PAID, paid(deposit))
    use(alice, bob, usd=100)
    set_aside(alice, 20 * USD)
    send(DISPUTED, dispute(deposit))
    with time_machine.travel(clock.now() + dt.timedelta(days=8), tick=False):
        services.mature_earnings()
        balance = services.host_balance_of(owner_id=bob.user_id)
        assert (balance.available, balance.disputed, balance.payable) == (
            90 * USD,
            20 * USD,
            70 * USD,
        )
        with pytest.raises(FundsInsufficient):
            ask(bob, 71)
        assert state(ask(bob, 70)) == "requested"
