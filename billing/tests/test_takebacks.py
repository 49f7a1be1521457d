"""Money that goes back: refunds and disputes in any order, debts, and no wallet below zero."""

from __future__ import annotations

from itertools import permutations

import pytest
from django.core.management import CommandError, call_command

from accounts.actors import Actor
from audit.models import AuditEvent
from billing import services, tasks
from billing.models import Account, AutoTopUp, Deposit, Dispute, PaymentEvent, Transfer
from billing.providers import SavedMethod, Sent
from billing.providers.stripe_ import StripeProvider
from billing.tests.payments import (
    BOUNCED,
    CLOSED,
    DISPUTED,
    PAID,
    REFUNDED,
    USD,
    asked,
    balance,
    dispute,
    ours,
    paid,
    refund,
    send,
    set_aside,
)
from core import clock
from core.errors import Conflict
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("with_stripe", "books_are_right")]


@pytest.fixture
def alice() -> Actor:
    return cast.person("alice")


def owed(alice: Actor) -> int:
    return services.owed_by(owner_id=alice.user_id)


def state(deposit: Deposit) -> str:
    deposit.refresh_from_db()
    return deposit.state


def test_money_that_goes_back_before_it_came_is_asked_for_again(alice: Actor) -> None:
    deposit = asked(alice)
    named = refund(deposit, 2000, metadata={"deposit_id": str(deposit.pk)})
    assert send(REFUNDED, named, event_id="evt_r") == (503, "deposit_not_paid_yet")
    assert not PaymentEvent.objects.exists()
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert send(REFUNDED, named, event_id="evt_r") == (200, "refunded")
    assert balance(alice) == (0, False)


def test_a_refund_that_names_only_its_payment_is_kept_until_that_is_known(alice: Actor) -> None:
    deposit = asked(alice)
    assert send(REFUNDED, refund(deposit, 700)) == (200, "deposit_unknown")
    assert send(REFUNDED, refund(deposit, 500, ref="re_2")) == (200, "deposit_unknown")
    assert send(BOUNCED, refund(deposit, 500, ref="re_2")) == (200, "deposit_unknown")
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert balance(alice) == (13 * USD, False)


def test_each_refund_takes_its_part_once_however_often_it_is_told(
    alice: Actor, deposit: Deposit
) -> None:
    for ref, cents, left in (("a", 500, 15), ("a", 500, 15), ("b", 700, 8), ("c", 9900, 0)):
        send(REFUNDED, refund(deposit, cents, ref=ref))
        send("refund.updated", refund(deposit, cents, ref=ref))
        assert balance(alice) == (left * USD, False)
    assert (state(deposit), deposit.refunded) == ("refunded", 20 * USD)
    # The largest could not have all that it asked for: what another gives up goes there.
    assert send("refund.updated", refund(deposit, 500, ref="a", status="canceled"))[1] == "bounced"
    assert (state(deposit), balance(alice)) == ("refunded", (0, False))
    assert send(BOUNCED, refund(deposit, 9900, ref="c")) == (200, "bounced")
    assert (state(deposit), balance(alice)) == ("succeeded", (13 * USD, False))


def test_a_refund_that_was_spent_is_owed_and_the_debt_goes_when_it_bounces(
    alice: Actor, deposit: Deposit
) -> None:
    hold = set_aside(alice, 15 * USD)
    assert send(REFUNDED, refund(deposit, 2000)) == (200, "refunded")
    assert (balance(alice), owed(alice)) == ((15 * USD, True), 15 * USD)
    assert send(BOUNCED, refund(deposit, 2000)) == (200, "bounced")
    assert send(BOUNCED, refund(deposit, 2000)) == (200, "nothing_new")
    assert send(REFUNDED, refund(deposit, 2000)) == (200, "nothing_new")
    assert (balance(alice), owed(alice), state(deposit)) == ((20 * USD, False), 0, "succeeded")
    services.release_hold(actor=alice, hold_id=hold)


def test_a_dispute_freezes_the_wallet_takes_what_is_free_and_owes_the_rest(
    alice: Actor, deposit: Deposit
) -> None:
    hold = set_aside(alice, 15 * USD)
    assert send(DISPUTED, dispute(deposit)) == (200, "disputed")
    assert send("charge.dispute.funds_withdrawn", dispute(deposit)) == (200, "nothing_new")
    assert (state(deposit), balance(alice), owed(alice)) == (
        "disputed",
        (15 * USD, True),
        15 * USD,
    )
    with pytest.raises(Conflict) as refused:
        set_aside(alice, 1)
    assert refused.value.code == "wallet_frozen"
    assert send(CLOSED, dispute(deposit, status="lost")) == (200, "dispute_lost")
    assert (state(deposit), balance(alice)) == ("lost", (15 * USD, True))
    services.release_hold(actor=alice, hold_id=hold)
    # What comes next pays the debt first, and thaws the wallet.
    send(PAID, paid(asked(alice, 10)))
    assert (balance(alice), owed(alice)) == ((10 * USD, False), 0)


def test_a_debt_is_paid_by_itself_when_money_becomes_free(alice: Actor, deposit: Deposit) -> None:
    hold = set_aside(alice, 15 * USD)
    send(DISPUTED, dispute(deposit))
    send(CLOSED, dispute(deposit, status="lost"))
    tasks.collect_debts()
    assert (balance(alice), owed(alice)) == ((15 * USD, True), 15 * USD)
    services.release_hold(actor=alice, hold_id=hold)
    tasks.collect_debts()
    assert (balance(alice), owed(alice)) == ((0, False), 0)


def test_a_dispute_that_is_won_gives_everything_back(alice: Actor, deposit: Deposit) -> None:
    hold = set_aside(alice, 15 * USD)
    send(DISPUTED, dispute(deposit))
    services.release_hold(actor=alice, hold_id=hold)
    # Meanwhile alice pays 10 in, which goes into the debt.
    send(PAID, paid(asked(alice, 10)))
    closed = dispute(deposit, status="won")
    assert send(CLOSED, closed) == (200, "dispute_won")
    assert send(CLOSED, closed) == (200, "nothing_new")
    assert send("charge.dispute.funds_reinstated", closed) == (200, "nothing_new")
    assert (balance(alice), owed(alice)) == ((30 * USD, False), 0)
    assert state(deposit) == "succeeded"


@pytest.mark.parametrize(
    ("status", "left", "ends"), [("won", 20, "succeeded"), ("lost", 0, "lost")]
)
def test_the_end_of_a_dispute_may_come_before_its_beginning(
    alice: Actor, deposit: Deposit, status: str, left: int, ends: str
) -> None:
    assert send(CLOSED, dispute(deposit, status=status)) == (200, f"dispute_{status}")
    assert send(DISPUTED, dispute(deposit)) == (200, "nothing_new")
    assert (state(deposit), balance(alice)) == (ends, (left * USD, False))


def test_a_second_dispute_takes_and_returns_its_own_part_only(
    alice: Actor, deposit: Deposit
) -> None:
    send(DISPUTED, dispute(deposit, 500, ref="dp_1"))
    send(DISPUTED, dispute(deposit, 700, ref="dp_2"))
    assert balance(alice) == (8 * USD, True)
    send(CLOSED, dispute(deposit, 500, ref="dp_1", status="won"))
    assert (state(deposit), balance(alice)) == ("disputed", (13 * USD, True))
    send(CLOSED, dispute(deposit, 700, ref="dp_2", status="lost"))
    assert (state(deposit), balance(alice)) == ("lost", (13 * USD, False))
    # The bank changes its mind.
    assert send("charge.dispute.funds_reinstated", dispute(deposit, 700, ref="dp_2")) == (
        200,
        "dispute_won",
    )
    assert (state(deposit), balance(alice)) == ("succeeded", (20 * USD, False))


def test_refunds_and_disputes_together_never_take_more_than_was_paid(
    alice: Actor, deposit: Deposit
) -> None:
    send(REFUNDED, refund(deposit, 1500))
    send(DISPUTED, dispute(deposit, 2000))
    assert balance(alice) == (0, True)
    assert Dispute.objects.get().amount == 5 * USD
    send(CLOSED, dispute(deposit, status="won"))
    send(REFUNDED, refund(deposit, 9900, ref="re_2"))
    assert (state(deposit), balance(alice)) == ("refunded", (0, False))


def test_what_a_refund_has_returned_and_a_bank_takes_for_good_as_well_is_owed(
    alice: Actor, deposit: Deposit
) -> None:
    assert send(REFUNDED, refund(deposit, 1500)) == (200, "refunded")
    assert send(DISPUTED, dispute(deposit, 2000)) == (200, "disputed")
    assert (balance(alice), owed(alice)) == ((0, True), 0)
    assert send(CLOSED, dispute(deposit, status="lost")) == (200, "dispute_lost")
    assert send(CLOSED, dispute(deposit, status="lost")) == (200, "nothing_new")
    # 35 went out of 20.
    assert (state(deposit), balance(alice), owed(alice)) == ("lost", (0, True), 15 * USD)
    assert AuditEvent.objects.get(verb="dispute.lost").data["amount"] == 20 * USD
    send(PAID, paid(asked(alice, 10)))
    assert (balance(alice), owed(alice)) == ((0, True), 5 * USD)
    # The bank changes its mind: what was paid of the debt is alice's again.
    reinstated = dispute(deposit, status="won")
    assert send("charge.dispute.funds_reinstated", reinstated) == (200, "dispute_won")
    assert (state(deposit), balance(alice), owed(alice)) == ("succeeded", (15 * USD, False), 0)


@pytest.mark.parametrize("bounces", [False, True])
@pytest.mark.parametrize("ends", ["lost", "won", "reinstated"])
@pytest.mark.parametrize("order", list(permutations(["refund", "dispute", "end", "bounce"])))
def test_in_whatever_order_it_is_told_what_is_owed_is_what_went_out_twice(
    alice: Actor, deposit: Deposit, order: tuple[str, ...], ends: str, bounces: bool
) -> None:
    closed = dispute(deposit, 1200, status="won" if ends == "won" else "lost")
    for told in order:
        if told == "refund":
            assert send(REFUNDED, refund(deposit, 2000))[0] == 200
        elif told == "dispute":
            assert send(DISPUTED, dispute(deposit, 1200))[0] == 200
        elif told == "end":
            assert send(CLOSED, closed)[0] == 200
        elif bounces:
            assert send(BOUNCED, refund(deposit, 2000))[0] == 200
    if ends == "reinstated":
        send("charge.dispute.funds_reinstated", dispute(deposit, 1200, status="won"))
    out = (0 if bounces else 20) + (12 if ends == "lost" else 0)
    assert (balance(alice)[0], owed(alice)) == (max(0, 20 - out) * USD, max(0, out - 20) * USD)
    assert balance(alice)[1] is (out > 20)


def test_what_staff_sent_back_and_is_lost_to_a_bank_afterwards_is_owed(
    alice: Actor, deposit: Deposit, dora: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = services.return_deposit(
        actor=dora, deposit_id=deposit.pk, amount=None, reason="asked", idempotency_key="k"
    )
    monkeypatch.setattr(StripeProvider, "give_back", lambda *a, **k: Sent(f"re_{made.pk}"))
    tasks.send_returns()
    assert send(REFUNDED, ours(deposit, made)) == (200, "nothing_new")
    assert send(DISPUTED, dispute(deposit)) == (200, "disputed")
    assert owed(alice) == 0
    assert send(CLOSED, dispute(deposit, status="lost")) == (200, "dispute_lost")
    assert (owed(alice), balance(alice)) == (20 * USD, (0, True))


def test_a_bank_that_only_asks_changes_nothing(alice: Actor, deposit: Deposit) -> None:
    asks = dispute(deposit, status="warning_needs_response")
    assert send(DISPUTED, asks) == (200, "inquiry")
    assert send(CLOSED, dispute(deposit, status="warning_closed")) == (200, "inquiry")
    assert (state(deposit), balance(alice)) == ("succeeded", (20 * USD, False))


def test_a_dispute_that_comes_before_its_payment_is_kept_and_applied_then(alice: Actor) -> None:
    deposit = asked(alice)
    assert send(CLOSED, dispute(deposit, status="lost")) == (200, "deposit_unknown")
    assert send(DISPUTED, dispute(deposit)) == (200, "deposit_unknown")
    assert balance(alice) == (0, False)
    assert send(PAID, paid(deposit)) == (200, "credited")
    assert (state(deposit), balance(alice)) == ("lost", (0, False))
    outcomes = PaymentEvent.objects.order_by("pk").values_list("outcome", flat=True)
    assert list(outcomes) == ["dispute_lost", "disputed", "credited"]


def test_a_dispute_of_a_payment_that_is_not_ours_is_noted(alice: Actor, deposit: Deposit) -> None:
    stranger = dispute(deposit) | {"payment_intent": "pi_of_another_shop"}
    assert send(DISPUTED, stranger) == (200, "deposit_unknown")
    assert send(DISPUTED, stranger | {"payment_intent": None}) == (200, "deposit_unknown")
    assert send(DISPUTED, dispute(deposit) | {"currency": "eur"}) == (200, "currency_differs")
    assert (balance(alice), Dispute.objects.count()) == ((20 * USD, False), 0)
    assert PaymentEvent.objects.get(payment="pi_of_another_shop").amount == 20 * USD


def test_what_a_host_earned_with_disputed_money_is_known(alice: Actor, deposit: Deposit) -> None:
    bob = cast.person("bob")
    meter = services.open_meter(
        actor=alice,
        kind="compute",
        owner_id=alice.user_id,
        payee_id=bob.user_id,
        rate=USD,
        fee_bps=1000,
        subject_id=new_id(),
        at=clock.epoch() - 10,
    )
    Account.objects.filter(pk=meter.wallet_id).update(asof=clock.epoch() - 10)
    services.close_meter(actor=alice, meter_id=meter.pk)
    earned = services.earnings_of(owner_id=bob.user_id).total
    assert services.disputed_earnings(payee_id=bob.user_id) == 0
    send(DISPUTED, dispute(deposit))
    assert services.disputed_earnings(payee_id=bob.user_id) == earned
    send(CLOSED, dispute(deposit, status="won"))
    assert services.disputed_earnings(payee_id=bob.user_id) == 0


def test_ledger_verify_names_a_dispute_and_a_wallet_that_do_not_add_up(
    alice: Actor, deposit: Deposit
) -> None:
    send(DISPUTED, dispute(deposit))
    call_command("ledger_verify")
    found = Dispute.objects.get()
    Dispute.objects.update(amount=19 * USD)
    with pytest.raises(CommandError, match=f"dispute {found.pk}: 19000000000 .* 20000000000 were"):
        call_command("ledger_verify")
    Dispute.objects.update(amount=20 * USD)
    Account.objects.filter(kind="wallet").update(frozen=False)
    with pytest.raises(CommandError, match="frozen is False, 0 nano-units are owed and 1 disputes"):
        call_command("ledger_verify")
    Account.objects.filter(kind="wallet").update(frozen=True)
    Deposit.objects.update(refunded=1)
    with pytest.raises(CommandError, match=f"deposit {deposit.pk}: 1 nano-units refunded"):
        call_command("ledger_verify")
    Deposit.objects.update(refunded=0)
    assert Transfer.objects.filter(kind="dispute").count() == 1
    send(CLOSED, dispute(deposit, status="lost"))
    Dispute.objects.update(asked=19 * USD)
    with pytest.raises(CommandError, match=f"dispute {found.pk}: lost, 20000000000 of the 19"):
        call_command("ledger_verify")
    Dispute.objects.update(asked=20 * USD)


@pytest.mark.parametrize("told", ["disputed", "refunded"])
def test_a_wallet_whose_money_went_back_fills_itself_no_more(
    alice: Actor, deposit: Deposit, told: str
) -> None:
    services.set_auto_top_up(
        actor=alice, saved=SavedMethod("cus_1", "pm_1"),
        threshold=5 * USD, amount=20 * USD, month_max=60 * USD,
    )  # fmt: skip
    kind, body = (
        (DISPUTED, dispute(deposit)) if told == "disputed" else (REFUNDED, refund(deposit, 2000))
    )
    assert send(kind, body) == (200, told)
    rule = AutoTopUp.objects.get()
    assert (rule.enabled, rule.note) == (
        False,
        "Money that you had paid in went back. Switch it on again when you want it.",
    )
    send(CLOSED, dispute(deposit, status="lost"))
    tasks.top_up_wallets()
    assert Deposit.objects.count() == 1
