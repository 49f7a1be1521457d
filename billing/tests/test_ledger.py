"""Money that always adds up: holds, meters, exhaustion, reversals, and the guards in the database."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, IntegrityError, connection, transaction

from accounts.actors import Actor
from billing import services
from billing.events import WalletExhausted
from billing.models import Account, Meter, Transfer
from billing.models.ledger import GIVEN_BACK
from core import money
from core.errors import Conflict, FundsInsufficient, Invalid
from core.models import OutboxMessage
from tests import cast

pytestmark = pytest.mark.django_db
SYSTEM = Actor.system()
START = "2026-11-21T12:00:00Z"


def meter(alice: Actor, bob: Actor, *, rate: int = 1000, subject: uuid.UUID | None = None) -> Meter:
    return services.open_meter(
        actor=SYSTEM,
        kind="compute",
        owner_id=alice.user_id,
        payee_id=bob.user_id,
        rate=rate,
        fee_bps=1000,
        subject_id=subject or uuid.uuid4(),
    )


def test_a_meter_costs_rate_times_seconds_and_the_host_gets_it_less_the_fee() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        alice, bob = cast.person("alice", usd=1), cast.person("bob")
        opened = meter(alice, bob)
        traveller.shift(100)
        assert services.balance_of(owner_id=alice.user_id).total == money.NANO - 100_000
        services.close_meter(actor=SYSTEM, meter_id=opened.pk)
        traveller.shift(100)
        services.close_meter(actor=SYSTEM, meter_id=opened.pk)
        assert services.balance_of(owner_id=alice.user_id).total == money.NANO - 100_000
        assert services.earnings_of(owner_id=bob.user_id).total == 90_000
        assert services.verify_ledger() == []


def test_money_that_runs_out_runs_out_at_exactly_zero() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        alice, bob = cast.person("alice"), cast.person("bob")
        services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=1_000_500, idem="d")
        opened = meter(alice, bob)
        runs_out = services.balance_of(owner_id=alice.user_id).runs_out
        traveller.shift(5000)
        assert services.sweep_exhausted() == 1
        [message] = OutboxMessage.objects.filter(topic=WalletExhausted.topic)
        assert message.payload["at"] == runs_out
        services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=runs_out)
        assert services.balance_of(owner_id=alice.user_id).total == 500
        assert services.sweep_exhausted() == 0
        assert services.verify_ledger() == []


def test_held_money_does_not_burn() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        alice, bob = cast.person("alice"), cast.person("bob")
        services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=1_000_000, idem="d")
        hold = services.place_hold(
            actor=SYSTEM,
            owner_id=alice.user_id,
            amount=600_000,
            reason="storage",
            subject_id=uuid.uuid4(),
        )
        meter(alice, bob)
        traveller.shift(10_000)
        balance = services.balance_of(owner_id=alice.user_id)
        assert (balance.total, balance.available, balance.locked) == (600_000, 0, 600_000)
        services.release_hold(actor=SYSTEM, hold_id=hold.pk)
        services.release_hold(actor=SYSTEM, hold_id=hold.pk)
        assert services.balance_of(owner_id=alice.user_id).locked == 0
        assert services.verify_ledger() == []


def test_a_hold_beyond_the_balance_names_what_is_missing_and_changes_nothing() -> None:
    alice = cast.person("alice", usd=1)
    with pytest.raises(FundsInsufficient) as refused:
        services.place_hold(
            actor=SYSTEM,
            owner_id=alice.user_id,
            amount=3 * money.NANO,
            reason="compute",
            subject_id=uuid.uuid4(),
        )
    assert refused.value.data["missing"] == "2.00"
    assert services.balance_of(owner_id=alice.user_id).locked == 0


def test_a_gap_found_after_posting_is_paid_back() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        alice, bob = cast.person("alice", usd=1), cast.person("bob")
        opened = meter(alice, bob)
        start = opened.started
        traveller.shift(200)
        assert services.roll_up() == 1
        services.close_meter(actor=SYSTEM, meter_id=opened.pk, at=start + 90)
        assert services.balance_of(owner_id=alice.user_id).total == money.NANO - 90_000
        assert services.earnings_of(owner_id=bob.user_id).total == 81_000
        assert Transfer.objects.filter(kind="share_back").count() == 1
        assert services.verify_ledger() == []


def test_roll_up_leaves_the_settle_horizon_on_the_line() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        alice, bob = cast.person("alice", usd=1), cast.person("bob")
        opened = meter(alice, bob)
        traveller.shift(200)
        services.roll_up()
        opened.refresh_from_db()
        assert opened.settled == opened.started + 140
        assert services.roll_up() == 0


def test_a_deposit_is_made_once_for_each_key() -> None:
    alice = cast.person("alice")
    for _ in range(2):
        services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=5, idem="once")
    assert services.balance_of(owner_id=alice.user_id).total == 5
    with pytest.raises(Conflict):
        services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=6, idem="once")
    for amount in (0, -1, 10**30):
        with pytest.raises(Invalid):
            services.deposit(actor=SYSTEM, owner_id=alice.user_id, amount=amount, idem="x")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_transfer SET amount = amount + 1",
        "DELETE FROM billing_transfer",
        "TRUNCATE billing_transfer",
        "UPDATE audit_auditevent SET verb = 'x'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent CASCADE",
    ],
)
def test_the_database_itself_refuses_to_change_history(statement: str) -> None:
    cast.person("alice", usd=1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute(statement)


def test_the_database_itself_refuses_an_overdraft_and_mixed_currencies() -> None:
    alice, bob = cast.person("alice", usd=1), cast.person("bob", usd=1)
    wallets = {a.owner_id: a for a in Account.objects.filter(kind="wallet")}
    src, dst = wallets[alice.user_id], wallets[bob.user_id]

    def send(amount: int) -> None:
        with transaction.atomic():
            Transfer.objects.bulk_create(
                [
                    Transfer(
                        group_id=uuid.uuid4(),
                        src=src,
                        dst=dst,
                        amount=amount,
                        kind="test",
                        created_at="2026-11-21T12:00:00Z",
                    )
                ]
            )

    with pytest.raises(IntegrityError, match="account_not_below_floor"):
        send(money.NANO + 1)
    Account.objects.filter(pk=dst.pk).update(currency="CREDIT")
    with pytest.raises(IntegrityError, match="one currency"):
        send(1)


def test_a_posting_names_another_exactly_when_its_kind_says_that_it_gives_something_back() -> None:
    alice, bob = cast.person("alice", usd=1), cast.person("bob", usd=1)
    src, dst = (Account.objects.get(kind="wallet", owner_id=p.user_id) for p in (alice, bob))
    before, first = Transfer.objects.count(), Transfer.objects.first()
    wrong = [("test", first), *((kind, None) for kind in GIVEN_BACK), ("share_back_again", first)]
    for kind, original in wrong:
        with (
            pytest.raises(IntegrityError, match="transfer_back_names_original"),
            transaction.atomic(),
        ):
            Transfer.objects.create(
                group_id=uuid.uuid4(), src=src, dst=dst, amount=1, kind=kind, reverses=original,
                created_at=START,
            )  # fmt: skip
    assert Transfer.objects.count() == before
    assert services.balance_of(owner_id=alice.user_id).total == money.NANO


@pytest.mark.django_db(transaction=True)
def test_sixteen_writers_on_one_wallet_never_overdraw_it() -> None:
    alice = cast.person("alice", usd=1)

    def hold(_: int) -> bool:
        try:
            services.place_hold(
                actor=SYSTEM,
                owner_id=alice.user_id,
                amount=money.NANO // 5,
                reason="race",
                subject_id=uuid.uuid4(),
            )
        except FundsInsufficient:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = sum(pool.map(hold, range(16)))
    assert wins == 5
    assert services.balance_of(owner_id=alice.user_id).available == 0
    assert services.verify_ledger() == []


def test_the_command_says_that_all_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    cast.person("alice", usd=1)
    call_command("ledger_verify")
    assert "everything adds up" in capsys.readouterr().out


def break_behind_the_triggers(statement: str) -> None:
    """Change a row as nobody can through the database's guards."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE billing_transfer DISABLE TRIGGER USER")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE billing_transfer ENABLE TRIGGER USER")


def billed_meter(traveller: time_machine.Traveller) -> Meter:
    alice, bob = cast.person("alice", usd=1), cast.person("bob")
    opened = meter(alice, bob)
    traveller.shift(100)
    services.close_meter(actor=SYSTEM, meter_id=opened.pk)
    return opened


def test_the_command_names_the_first_bad_row() -> None:
    with time_machine.travel(START, tick=False) as traveller:
        billed_meter(traveller)
        break_behind_the_triggers(
            "UPDATE billing_transfer SET amount = amount + 1 WHERE kind = 'fee'"
        )
        with pytest.raises(CommandError, match="rate x seconds is 100000"):
            call_command("ledger_verify")


def test_a_bill_is_replayed_from_the_audit_log(capsys: pytest.CaptureFixture[str]) -> None:
    with time_machine.travel(START, tick=False) as traveller:
        opened = billed_meter(traveller)
        call_command("bill_replay", str(opened.subject_id))
        assert "1 lines, 0.0001: log and ledger agree." in capsys.readouterr().out
        call_command("bill_replay", str(opened.subject_id), "--json")
        line = json.loads(capsys.readouterr().out)
        assert (line["log"], line["ledger"], line["agrees"]) == ("0.0001", "0.0001", True)
        break_behind_the_triggers(
            "UPDATE billing_transfer SET amount = amount + 1 WHERE kind = 'share'"
        )
        with pytest.raises(CommandError, match="log says 100000, the ledger 100001"):
            call_command("bill_replay", str(opened.subject_id))


def test_a_rental_that_never_cost_anything_cannot_be_replayed() -> None:
    with pytest.raises(CommandError, match="has no meters"):
        call_command("bill_replay", str(uuid.uuid4()))
