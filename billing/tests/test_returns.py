"""Deposits that staff send back: never more than is there, once, and told the same whatever comes first."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine
from django.test import Client
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User
from audit.models import AuditEvent
from billing import services, tasks
from billing.models import Account, Deposit, DepositReturn, Transfer
from billing.providers import ProviderAway, ProviderRefuses, SavedMethod, Sent
from billing.providers.fake import FakeProvider
from billing.providers.stripe_ import StripeProvider
from billing.tests.hosts import USD
from billing.tests.payments import (
    BOUNCED,
    CLOSED,
    DISPUTED,
    PAID,
    REFUNDED,
    SECRET,
    asked,
    balance,
    dispute,
    ours,
    paid,
    refund,
    send,
    set_aside,
    stripe_that_says,
)
from core import clock
from core.errors import Conflict, DomainError, Forbidden, FundsInsufficient, Invalid, NotFound
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]


@pytest.fixture
def alice(with_stripe: None) -> Actor:
    return cast.person("alice")


class Stripe:
    """What Stripe was asked to send back; it does, or says why not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self.fails: Exception | None = None
        self.knows: Sent | None = None
        monkeypatch.setattr(StripeProvider, "give_back", lambda _, **said: self.send(**said))
        monkeypatch.setattr(StripeProvider, "find_back", lambda _, **said: self.knows)

    def send(self, *, return_id: object, payment: str, amount: int, currency: str) -> Sent:
        assert payment.startswith("pi_")
        self.asked.append(amount // USD)
        if self.fails is not None:
            raise self.fails
        return Sent(f"re_{return_id}")


@pytest.fixture
def stripe(monkeypatch: pytest.MonkeyPatch) -> Stripe:
    return Stripe(monkeypatch)


def back(
    dora: Actor, deposit: Deposit, usd: float | None = None, *, key: str = "", why: str = "asked"
) -> DepositReturn:
    return services.return_deposit(
        actor=dora,
        deposit_id=deposit.pk,
        amount=None if usd is None else int(usd * USD),
        reason=why,
        idempotency_key=key or str(new_id()),
    )


def state(of: Deposit | DepositReturn) -> str:
    of.refresh_from_db()
    return of.state


def test_all_of_a_deposit_leaves_the_wallet_at_once_and_goes_back_once(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    services.set_auto_top_up(
        actor=alice, saved=SavedMethod("cus_1", "pm_1"),
        threshold=5 * USD, amount=20 * USD, month_max=60 * USD,
    )  # fmt: skip
    made = back(dora, deposit)
    assert (balance(alice), state(deposit), stripe.asked) == ((0, False), "refunded", [])
    # What goes back is not charged again in the next minute.
    assert services.due_rules() == []
    tasks.send_returns()
    tasks.send_returns()
    assert (state(made), made.ref, stripe.asked) == ("sent", f"re_{made.pk}", [20])
    assert send(REFUNDED, ours(deposit, made)) == (200, "nothing_new")
    assert (balance(alice), deposit.refunded) == ((0, False), 20 * USD)
    moved = Transfer.objects.filter(group_id=made.pk).values_list("kind", "amount")
    assert list(moved) == [("returned", 20 * USD)]
    told = AuditEvent.objects.filter(verb__startswith="deposit.return_")
    assert {row.verb: row.data["reason"] for row in told} == {
        "deposit.return_decided": "asked",
        "deposit.return_sent": "asked",
    }


def test_a_part_goes_back_and_later_the_rest(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit, 5)
    assert (balance(alice)[0], state(deposit)) == (15 * USD, "succeeded")
    # Stripe tells before we have noted that it was sent.
    assert send(REFUNDED, ours(deposit, made)) == (200, "refunded")
    assert (state(made), made.ref, balance(alice)[0]) == ("sent", f"re_{made.pk}", 15 * USD)
    tasks.send_returns()
    with pytest.raises(Conflict) as refused:
        back(dora, deposit, 16)
    assert (refused.value.code, refused.value.data["left"]) == ("return_exceeds_deposit", "15.00")
    back(dora, deposit)
    tasks.send_returns()
    assert (balance(alice)[0], state(deposit), stripe.asked) == (0, "refunded", [15])


def test_the_same_key_is_the_same_return(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    first = back(dora, deposit, 5, key="k")
    assert back(dora, deposit, 5, key="k").pk == first.pk
    with pytest.raises(Conflict) as refused:
        back(dora, deposit, 6, key="k")
    assert (refused.value.code, balance(alice)[0]) == ("idempotency_key_reused", 15 * USD)


def test_what_is_used_or_set_aside_does_not_go_back(
    deposit: Deposit, alice: Actor, dora: Actor
) -> None:
    set_aside(alice, 12 * USD)
    with pytest.raises(FundsInsufficient) as refused:
        back(dora, deposit)
    assert (refused.value.code, refused.value.data["available"]) == (
        "return_exceeds_wallet",
        "8.00",
    )
    assert (balance(alice)[0], DepositReturn.objects.count()) == (20 * USD, 0)
    back(dora, deposit, 8)
    assert balance(alice)[0] == 12 * USD


@pytest.mark.parametrize("usd", [-1, 0, 0.005, 20.01])
def test_amounts_that_cannot_go_back_change_nothing(
    deposit: Deposit, alice: Actor, dora: Actor, usd: float
) -> None:
    with pytest.raises(DomainError) as refused:
        back(dora, deposit, usd)
    assert refused.value.code in {"amount_range", "return_exceeds_deposit"}
    assert (balance(alice)[0], DepositReturn.objects.count()) == (20 * USD, 0)


def test_who_may_not_and_what_cannot_go_back_is_refused(
    deposit: Deposit, alice: Actor, dora: Actor
) -> None:
    unpaid, own = asked(alice), asked(dora)
    send(PAID, paid(own))
    with pytest.raises(Forbidden):
        back(alice, deposit)
    with pytest.raises(Invalid) as silent:
        back(dora, deposit, why=" ")
    with pytest.raises(Conflict) as not_paid:
        back(dora, unpaid)
    with pytest.raises(Conflict) as mine:
        back(dora, own)
    with pytest.raises(NotFound) as unknown:
        services.return_deposit(
            actor=dora, deposit_id=new_id(), amount=None, reason="x", idempotency_key="k"
        )
    codes = [refused.value.code for refused in (silent, not_paid, mine, unknown)]
    assert codes == ["reason_missing", "deposit_not_returnable", "return_own", "deposit_unknown"]
    send(DISPUTED, dispute(deposit))
    with pytest.raises(Conflict) as disputed:
        back(dora, deposit)
    assert disputed.value.code == "deposit_not_returnable"
    assert DepositReturn.objects.count() == 0


def test_a_provider_that_is_away_is_asked_again_and_one_that_refuses_gives_it_back(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit)
    stripe.fails = ProviderAway("away")
    tasks.send_returns()
    assert (state(made), balance(alice)[0]) == ("decided", 0)
    stripe.fails = ProviderRefuses("The card is closed")
    tasks.send_returns()
    tasks.send_returns()
    assert (state(made), made.note) == ("failed", "The card is closed")
    assert (balance(alice)[0], state(deposit), deposit.refunded) == (20 * USD, "succeeded", 0)
    assert stripe.asked == [20, 20]


def test_what_the_provider_sends_back_by_itself_meanwhile_counts_by_itself(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit, 10)
    # Somebody refunds 4 in Stripe's own pages.
    assert send(REFUNDED, refund(deposit, 400)) == (200, "refunded")
    assert (balance(alice)[0], deposit.returns.get(ref="re_1").state) == (6 * USD, "sent")
    stripe.fails = ProviderRefuses("no")
    tasks.send_returns()
    assert state(made) == "failed"
    assert (balance(alice)[0], state(deposit), deposit.refunded) == (16 * USD, "succeeded", 4 * USD)


def test_a_refund_that_does_not_arrive_is_in_the_wallet_again_once(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit)
    tasks.send_returns()
    assert send(BOUNCED, ours(deposit, made)) == (200, "bounced")
    assert send(BOUNCED, ours(deposit, made)) == (200, "nothing_new")
    # Stripe promises no order: its beginning is told after its end.
    assert send(REFUNDED, ours(deposit, made)) == (200, "nothing_new")
    assert (state(made), balance(alice)[0], state(deposit)) == ("failed", 20 * USD, "succeeded")
    assert send(BOUNCED, refund(deposit, 2000, ref="re_other")) == (200, "bounced")
    assert send(REFUNDED, refund(deposit, 2000, ref="re_other")) == (200, "nothing_new")
    assert balance(alice)[0] == 20 * USD


def test_one_that_bounces_before_we_know_that_it_was_sent_is_not_sent_again(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit)
    assert send(BOUNCED, ours(deposit, made)) == (200, "bounced")
    tasks.send_returns()
    services.note_returned(return_id=made.pk, ref=f"re_{made.pk}")
    assert (state(made), made.ref, stripe.asked) == ("failed", f"re_{made.pk}", [])
    assert (balance(alice)[0], state(deposit)) == (20 * USD, "succeeded")


def test_a_refused_return_does_not_take_again_what_bounced_before(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    first = back(dora, deposit, 10)
    tasks.send_returns()
    assert send(REFUNDED, ours(deposit, first)) == (200, "nothing_new")
    assert send(BOUNCED, ours(deposit, first)) == (200, "bounced")
    second = back(dora, deposit, 5)
    stripe.fails = ProviderRefuses("No.")
    tasks.send_returns()
    assert (state(second), balance(alice)[0]) == ("failed", 20 * USD)


def test_what_a_bank_asked_for_during_a_return_is_taken_when_the_return_fails(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    made = back(dora, deposit)
    assert send(DISPUTED, dispute(deposit)) == (200, "disputed")
    # Stripe refunds no disputed charge.
    stripe.fails = ProviderRefuses("This charge is disputed.")
    tasks.send_returns()
    assert (state(made), balance(alice)) == ("failed", (0, True))
    assert send(CLOSED, dispute(deposit, status="lost"))[0] == 200
    assert (state(deposit), balance(alice)) == ("lost", (0, False))


@pytest.mark.parametrize(("status", "left"), [("lost", 0), ("won", 20)])
def test_what_a_bank_asked_for_is_taken_of_a_refund_that_bounces(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe, status: str, left: int
) -> None:
    made = back(dora, deposit)
    tasks.send_returns()
    assert send(DISPUTED, dispute(deposit)) == (200, "disputed")
    assert send(BOUNCED, ours(deposit, made)) == (200, "bounced")
    assert balance(alice) == (0, True)
    assert send(CLOSED, dispute(deposit, status=status))[0] == 200
    assert balance(alice) == (left * USD, False)


def test_an_old_one_that_nobody_sent_is_looked_for_and_never_sent_twice(
    deposit: Deposit, alice: Actor, dora: Actor, stripe: Stripe
) -> None:
    known, unknown = back(dora, deposit, 5), back(dora, deposit, 6)
    with time_machine.travel(clock.now() + dt.timedelta(hours=21), tick=False):
        stripe.knows = Sent("re_found")
        DepositReturn.objects.filter(pk=unknown.pk).update(created_at=clock.now())
        tasks.send_returns()
        assert (state(known), known.ref, stripe.asked) == ("sent", "re_found", [6])
    third = back(dora, deposit, 1)
    with time_machine.travel(clock.now() + dt.timedelta(hours=21), tick=False):
        stripe.knows = None
        tasks.send_returns()
    assert (state(third), balance(alice)[0], stripe.asked) == ("failed", 9 * USD, [6])


def test_the_fake_provider_pretends(dora: Actor) -> None:
    carol = cast.person("carol")
    made = asked(carol)
    fake = FakeProvider(signing_key="x")
    body = fake.paid(deposit_id=made.pk, amount=made.amount, currency="USD")
    services.apply_event(
        provider="fake", event=fake.read_event(body=body, signature=fake.sign(body))
    )
    sent = back(dora, made)
    tasks.send_returns()
    assert (state(sent), sent.ref) == ("sent", f"fake-back-{sent.pk}")
    assert fake.find_back(return_id=sent.pk, payment="") is None


def test_stripes_own_library_sends_and_finds_refunds(stripe_mock: str) -> None:
    taker = StripeProvider(secret_key="sk_test_123", webhook_secret=SECRET, api_base=stripe_mock)
    sent = taker.give_back(return_id=new_id(), payment="pi_1", amount=5 * USD, currency="USD")
    assert sent.ref.startswith("re_")
    assert taker.find_back(return_id=new_id(), payment="pi_1") is None


def test_a_refund_that_stripe_says_has_failed_is_refused_and_one_of_ours_is_found() -> None:
    mine = new_id()
    answers = {
        "refunds": {"id": "re_1", "status": "failed", "failure_reason": "lost_or_stolen_card"}
    }
    with stripe_that_says(answers) as (base, _):
        taker = StripeProvider(secret_key="sk_test_1", webhook_secret=SECRET, api_base=base)
        with pytest.raises(ProviderRefuses, match="lost_or_stolen_card"):
            taker.give_back(return_id=mine, payment="pi_1", amount=USD, currency="USD")
    rows = [{"id": "re_1"}, {"id": "re_2", "metadata": {"return_id": str(mine)}}]
    with stripe_that_says({"refunds": {"object": "list", "data": rows}}) as (base, _):
        taker = StripeProvider(secret_key="sk_test_1", webhook_secret=SECRET, api_base=base)
        assert taker.find_back(return_id=mine, payment="pi_1") == Sent("re_2")


def test_staff_do_it_by_the_api_and_others_do_not(
    deposit: Deposit, alice: Actor, dora: Actor
) -> None:
    api, path = APIClient(), f"/api/v1/staff/deposits/{deposit.pk}/returns/"
    api.force_authenticate(User.objects.get(pk=alice.user_id))
    body, key = {"amount": "5.00", "reason": "asked"}, {"Idempotency-Key": "k"}
    assert api.post(path, body, format="json", headers=key).status_code == 403
    assert api.get(path).status_code == 403
    api.force_authenticate(User.objects.get(pk=dora.user_id))
    made = api.post(path, body, format="json", headers=key)
    assert (made.status_code, made.json()["data"]["state"]) == (201, "decided")
    assert api.post(path, body, format="json", headers=key).json() == made.json()
    assert [row["amount"] for row in api.get(path).json()["data"]] == ["5.00"]
    assert api.post(path, {"reason": "x", "amount": "NaN"}, format="json").status_code == 400
    assert balance(alice)[0] == 15 * USD
    client = Client()
    client.force_login(User.objects.get(pk=alice.user_id))
    assert 'data-return="decided"' in client.get(f"/deposits/{deposit.pk}/").content.decode()
    movement = services.statement_of(owner_id=alice.user_id).rows[0]
    page = client.get(f"/wallet/movements/{movement.pk}/").content.decode()
    assert "Sent back to what it was paid with" in page
    assert str(deposit.pk) in page


def test_staff_do_it_in_the_admin_and_a_doubled_click_is_one(
    client: Client, deposit: Deposit, alice: Actor, dora: Actor
) -> None:
    user = User.objects.get(pk=dora.user_id)
    user.is_superuser = True
    user.save()
    client.force_login(user)
    wallet = Account.objects.get(kind="wallet", owner_id=alice.user_id)

    def act(model: str, action: str, pk: object, **more: str) -> str:
        chosen = {"action": action, "_selected_action": [str(pk)], **more}
        return client.post(f"/admin/billing/{model}/", chosen, follow=True).content.decode()

    assert 'name="once"' in client.get("/admin/billing/deposit/").content.decode()
    said = {"amount": "5", "note": "asked", "once": "a"}
    assert "done." in act("deposit", "send_back", deposit.pk, **said)
    assert "done." in act("deposit", "send_back", deposit.pk, **said)
    assert "Say why" in act("deposit", "send_back", deposit.pk, amount="5", once="b")
    act("deposit", "send_back", deposit.pk, note="without its key")
    assert balance(alice)[0] == 15 * USD
    assert "done." in act("account", "give", wallet.pk, amount="1.5", note="sorry", once="c")
    assert "done." in act("account", "give", wallet.pk, amount="1.5", note="sorry", once="c")
    gateway = Account.objects.get(kind="gateway")
    assert "Choose wallets" in act("account", "give", gateway.pk, amount="1", note="x", once="d")
    assert balance(alice)[0] == 16_500_000_000
    assert "done." in act("deposit", "send_back", deposit.pk, note="all", once="e")
    assert balance(alice)[0] == 1_500_000_000


def test_ledger_verify_names_a_return_that_does_not_add_up(deposit: Deposit, dora: Actor) -> None:
    made = back(dora, deposit, 5)
    DepositReturn.objects.filter(pk=made.pk).update(state="failed")
    found = services.verify_ledger()
    assert [row for row in found if row.startswith(f"return {made.pk}: failed of")]
    DepositReturn.objects.filter(pk=made.pk).update(state="decided")
