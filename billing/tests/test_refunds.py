"""Refunds and credits: each names what it gives back, never more than stands, and none is given twice."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
import time_machine
from django.core import mail
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.actors import Actor
from accounts.models import User
from accounts.reconcile import send_mail_due
from audit import services as audit
from billing import services
from billing.models import Account, Bearer, Meter, Refund, Transfer
from billing.tests.hosts import SYSTEM, USD, have, use
from core import clock
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.ids import new_id
from tests import cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_are_right")]


@pytest.fixture
def alice() -> Actor:
    return cast.person("alice")


@pytest.fixture
def bob() -> Actor:
    return cast.person("bob")


def wallet(person: Actor) -> int:
    return services.balance_of(owner_id=person.user_id).total


def refund(dora: Actor, meter: Meter, usd: float, key: str = "", **more: object) -> Refund:
    return services.refund_charge(
        actor=dora,
        subject_id=meter.subject_id,
        amount=int(usd * USD),
        reason="It was slow.",
        idempotency_key=key or str(new_id()),
        **more,  # type: ignore[arg-type]
    )


def credit(meter: Meter, incident: str = "host_removed:1", last: int = 100) -> Refund | None:
    assert meter.ended is not None
    return services.credit_fault(
        actor=SYSTEM,
        subject_id=meter.subject_id,
        incident=incident,
        since=meter.ended - last,
        until=meter.ended,
        kinds=["compute"],
        reason="The container vanished.",
        evidence={"last_beat": meter.ended},
    )


def test_staff_give_back_a_part_and_each_side_bears_its_own(
    alice: Actor, bob: Actor, dora: Actor
) -> None:
    meter = use(alice, bob)
    made = refund(dora, meter, 4, "k")
    assert refund(dora, meter, 4, "k").pk == made.pk
    assert (wallet(alice), have(bob)) == (4 * USD, (int(5.4 * USD), 0, 0))
    legs = Transfer.objects.filter(group_id=made.pk).order_by("kind")
    assert [(leg.kind, leg.amount) for leg in legs] == [
        ("refund_fee", 4 * USD // 10),
        ("refund_share", 36 * USD // 10),
    ]
    assert all(leg.reverses is not None and leg.reverses.meter_id == meter.pk for leg in legs)
    [event] = audit.timeline(subject_id=made.pk)
    assert (event.verb, event.actor_id) == ("refund.refund", dora.id)
    assert services.refunds_of(subject_id=meter.subject_id) == [made]
    assert services.refunds_to(owner_id=alice.user_id) == [made]


def test_no_more_than_was_paid_is_given_back(alice: Actor, bob: Actor, dora: Actor) -> None:
    meter = use(alice, bob)
    refund(dora, meter, 6)
    with pytest.raises(Conflict) as more:
        refund(dora, meter, 4.01)
    assert (more.value.code, more.value.data["left"]) == ("refund_exceeds_paid", "4.00")
    refund(dora, meter, 4)
    assert (wallet(alice), have(bob)) == (10 * USD, (0, 0, 0))


def test_the_platform_can_pay_for_all_of_it(alice: Actor, bob: Actor, dora: Actor) -> None:
    meter = use(alice, bob)
    refund(dora, meter, 10, borne_by=Bearer.PLATFORM)
    assert (wallet(alice), have(bob)) == (10 * USD, (9 * USD, 0, 0))


def test_staff_give_nothing_back_to_themselves(bob: Actor, dora: Actor) -> None:
    meter = use(dora, bob)
    with pytest.raises(Conflict) as refused:
        refund(dora, meter, 1)
    assert (refused.value.code, Refund.objects.count()) == ("refund_own", 0)


def test_one_posting_can_be_given_back_alone(alice: Actor, bob: Actor, dora: Actor) -> None:
    meter = use(alice, bob)
    share = Transfer.objects.get(meter=meter, kind="share")
    with pytest.raises(Conflict):
        refund(dora, meter, 9.01, transfer_id=share.pk)
    refund(dora, meter, 9, transfer_id=share.pk)
    assert (wallet(alice), have(bob)) == (9 * USD, (0, 0, 0))


def test_bad_requests_for_refunds_change_nothing(alice: Actor, bob: Actor, dora: Actor) -> None:
    meter = use(alice, bob)
    for amount, code in ((0, "amount_range"), (-1, "amount_range"), (10**9, "amount_range")):
        with pytest.raises(Invalid) as refused:
            refund(dora, meter, amount)
        assert refused.value.code == code
    with pytest.raises(Invalid) as silent:
        services.refund_charge(
            actor=dora, subject_id=meter.subject_id, amount=1, reason=" ", idempotency_key="k"
        )
    assert silent.value.code == "reason_missing"
    with pytest.raises(Forbidden):
        refund(bob, meter, 1)
    meter.subject_id = uuid.uuid4()
    with pytest.raises(NotFound):
        refund(dora, meter, 1)
    assert (wallet(alice), Refund.objects.count()) == (0, 0)


def test_a_refund_after_the_host_was_paid_out_is_the_hosts_debt(
    alice: Actor, bob: Actor, dora: Actor
) -> None:
    meter = use(alice, bob, usd=100)
    with time_machine.travel(clock.now() + dt.timedelta(days=2), tick=False):
        services.mature_earnings()
        services.request_payout(
            actor=bob, amount=90 * USD, destination="NO93 8601", idempotency_key="k"
        )
        refund(dora, meter, 50)
        assert (wallet(alice), have(bob)) == (50 * USD, (0, 0, 45 * USD))


def test_a_fault_is_credited_once_with_its_evidence(alice: Actor, bob: Actor) -> None:
    meter = use(alice, bob)
    made = credit(meter)
    assert made is not None
    assert credit(meter) is None
    # 100 of 1,000 seconds.
    assert (made.amount, wallet(alice), have(bob)) == (USD, USD, (int(8.1 * USD), 0, 0))
    assert meter.ended is not None
    assert made.evidence["from"] == meter.ended - 100
    assert len(made.evidence["transfers"]) == 2
    assert credit(meter, "other", last=200) is not None
    assert wallet(alice) == 3 * USD - USD, "what was credited before is not given again"


def test_a_fault_credits_seconds_that_were_not_posted_when_it_was_found(
    alice: Actor, bob: Actor
) -> None:
    with time_machine.travel("2026-11-21T12:00:00Z", tick=False) as traveller:
        services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=10 * USD, idem="d")
        meter = services.open_meter(
            actor=SYSTEM, kind="compute", owner_id=alice.user_id, payee_id=bob.user_id,
            rate=USD // 100, fee_bps=1000, subject_id=new_id(),
        )  # fmt: skip
        traveller.shift(300)
        # The meter runs on, and nothing of it is in the books yet.
        assert not Transfer.objects.filter(meter=meter).exists()
        now = clock.epoch()
        made = services.credit_fault(
            actor=SYSTEM, subject_id=meter.subject_id, incident="tunnels:1", since=now - 200,
            until=now - 50, kinds=["compute"], reason="Our tunnel server was down.", evidence={},
            borne_by=Bearer.PLATFORM,
        )  # fmt: skip
        assert made is not None
        # 150 of the 300 seconds.
        assert made.amount == 150 * USD // 100
        assert wallet(alice) == 10 * USD - 3 * USD + made.amount
        assert len(made.evidence["transfers"]) == 2
        services.close_meter(actor=SYSTEM, meter_id=meter.pk)


def test_nobody_is_credited_by_themselves_or_for_nothing(alice: Actor) -> None:
    own = use(alice, alice)
    assert credit(own) is None
    assert credit(Meter(subject_id=new_id(), ended=5)) is None
    assert not Refund.objects.exists()


def test_an_outage_learned_of_after_a_credit_takes_back_what_of_the_credit_was_for_its_seconds(
    alice: Actor, bob: Actor
) -> None:
    meter = use(alice, bob)
    credit(meter, last=500)
    assert wallet(alice) == 5 * USD
    assert meter.ended is not None
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 300)
    # The last 300 s are not billed at all; of the 700 s before, the credit of [500, 700) stands.
    assert (wallet(alice), have(bob)) == (5 * USD, (int(4.5 * USD), 0, 0))
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 600)
    # Nothing of the 400 s that are left was credited.
    assert (wallet(alice), have(bob)) == (6 * USD, (int(3.6 * USD), 0, 0))
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=0)
    assert (wallet(alice), have(bob)) == (10 * USD, (0, 0, 0))


def test_an_outage_before_what_was_credited_leaves_nothing_of_it(alice: Actor, bob: Actor) -> None:
    meter = use(alice, bob)
    assert meter.ended is not None
    credit(meter, last=100)
    refund(SYSTEM, meter, 2, borne_by=Bearer.PLATFORM)
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 200)
    # 8 used; the credit is gone with its seconds, the refund, which names none, stands.
    assert (wallet(alice), have(bob)) == (4 * USD, (int(7.2 * USD), 0, 0))
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 900)
    assert (wallet(alice), have(bob)) == (10 * USD, (int(0.9 * USD), 0, 0))


def test_of_credits_that_overlap_each_second_is_undone_once(alice: Actor, bob: Actor) -> None:
    meter = use(alice, bob)
    assert meter.ended is not None
    credit(meter, "short", last=100)
    credit(meter, "long", last=400)
    assert wallet(alice) == 4 * USD
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 50)
    assert (wallet(alice), have(bob)) == (4 * USD, (int(5.4 * USD), 0, 0))
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 200)
    assert (wallet(alice), have(bob)) == (4 * USD, (int(5.4 * USD), 0, 0))
    services.take_back(actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - 500)
    assert (wallet(alice), have(bob)) == (5 * USD, (int(4.5 * USD), 0, 0))


def test_an_adjustment_is_a_gift_with_a_reason(alice: Actor, dora: Actor) -> None:
    made, again = (
        services.adjust_wallet(
            actor=dora, owner_id=alice.user_id, amount=3 * USD, reason="sorry", idempotency_key="k"
        )
        for _ in range(2)
    )
    assert made.pk == again.pk
    assert (wallet(alice), made.borne_by) == (3 * USD, "platform")
    with pytest.raises(Conflict):
        services.adjust_wallet(
            actor=dora, owner_id=dora.user_id, amount=USD, reason="me", idempotency_key="j"
        )
    with pytest.raises(Invalid):
        services.adjust_wallet(
            actor=dora, owner_id=alice.user_id, amount=0, reason="x", idempotency_key="i"
        )
    assert Refund.objects.count() == 1


@pytest.mark.parametrize(
    ("currency", "said"),
    [("CREDIT", "5.00 CREDIT for your wallet"), (None, "$5.00 for your wallet")],
)
def test_a_gift_is_told_in_its_own_currency_in_the_page_and_by_mail(
    alice: Actor, dora: Actor, drain: Callable[[], int], currency: str | None, said: str
) -> None:
    services.adjust_wallet(
        actor=dora, owner_id=alice.user_id, amount=5 * USD, reason="For your work.",
        currency=currency, idempotency_key="gift",
    )  # fmt: skip
    drain()
    send_mail_due()
    [found] = accounts.inbox_of(actor=alice).rows
    assert (accounts.word(found).title, accounts.word(found).body) == (said, "For your work.")
    assert [sent.subject for sent in mail.outbox] == [said]


@given(st.lists(
    st.tuples(st.sampled_from(["refund", "credit", "take_back", "platform"]),
              st.integers(1, 1200), st.integers(0, 2)),
    min_size=1, max_size=7,
))  # fmt: skip
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_given_back_in_any_order_is_never_more_than_was_paid(
    steps: list[tuple[str, int, int]],
) -> None:
    alice, bob = (
        Actor("user", str(uuid.uuid4()), "a", frozenset()),
        Actor("user", str(uuid.uuid4()), "b", frozenset()),
    )
    meter = use(alice, bob)
    assert meter.ended is not None
    for verb, number, incident in steps:
        try:
            if verb == "credit":
                credit(meter, f"x:{incident}", last=number)
            elif verb == "take_back":
                services.take_back(
                    actor=SYSTEM, subject_id=meter.subject_id, since=meter.ended - number
                )
            else:
                bearer = Bearer.PLATFORM if verb == "platform" else Bearer.HOST
                refund(SYSTEM, meter, number / 100, borne_by=bearer)
        except (Conflict, Invalid):
            continue
        assert 0 <= wallet(alice) <= 10 * USD
        assert have(bob)[0] <= 9 * USD
        credited = Refund.objects.filter(subject_id=meter.subject_id, kind="credit")
        assert credited.count() == credited.values("incident").distinct().count()
        assert services.verify_ledger() == []


def test_ledger_verify_names_what_was_given_back_too_often(
    alice: Actor, bob: Actor, dora: Actor
) -> None:
    meter = use(alice, bob)
    made = refund(dora, meter, 10)
    share = Transfer.objects.get(meter=meter, kind="share")
    host = Account.objects.get(kind="host", owner_id=bob.user_id)
    use(cast.person("carol"), bob)
    twice = Transfer(
        group_id=new_id(), src=host, dst=share.src, amount=5, kind="refund_share",
        reverses=share, created_at=clock.now(),
    )  # fmt: skip
    [row] = Transfer.objects.bulk_create([twice])
    with pytest.raises(CommandError, match=f"transfer {share.pk}: 9000000000 .* 9000000005 were"):
        call_command("ledger_verify")
    mend = Transfer(
        group_id=new_id(), src=share.src, dst=host, amount=5, kind="undone", reverses=row,
        created_at=clock.now(),
    )  # fmt: skip
    Transfer.objects.bulk_create([mend])
    Refund.objects.filter(pk=made.pk).update(amount=3)
    with pytest.raises(CommandError, match=f"refund {made.pk}: 3 nano-units, its legs say"):
        call_command("ledger_verify")
    Refund.objects.filter(pk=made.pk).update(amount=10 * USD)


def test_the_api_gives_back_for_staff_only(alice: Actor, bob: Actor, dora: Actor) -> None:
    meter = use(alice, bob)
    staff, renter = APIClient(), APIClient()
    staff.force_authenticate(User.objects.get(pk=dora.user_id))
    renter.force_authenticate(User.objects.get(pk=alice.user_id))
    body = {"amount": "2.50", "reason": "slow", "subject_id": str(meter.subject_id)}
    key = {"Idempotency-Key": "k"}
    assert (
        renter.post("/api/v1/staff/refunds/", body, format="json", headers=key).status_code == 403
    )
    for _ in range(2):
        told = staff.post("/api/v1/staff/refunds/", body, format="json", headers=key)
        assert (told.status_code, told.json()["data"]["amount"]) == (201, "2.50")
    gift = {"amount": "1", "reason": "sorry", "owner_id": str(alice.user_id)}
    gave = staff.post(
        "/api/v1/staff/adjustments/", gift, format="json", headers={"Idempotency-Key": "g"}
    )
    assert gave.status_code == 201
    assert renter.post("/api/v1/staff/adjustments/", gift, format="json").status_code == 403
    rows = renter.get("/api/v1/wallet/refunds/").json()["data"]
    assert [row["kind"] for row in rows] == ["adjustment", "refund"]
    for wrong in ({"amount": "NaN"}, {"amount": "-1"}, {"borne_by": "carol"}, {"reason": ""}):
        bad = staff.post(
            "/api/v1/staff/refunds/", body | wrong, format="json", headers={"Idempotency-Key": "w"}
        )
        assert bad.status_code == 400
    assert wallet(alice) == int(3.5 * USD)
