"""What must be true after a hammering: of the books, of the machines, and of every answer that a writer has seen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import Q

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from billing.models import Account, Hold, Meter, PaymentEvent, Transfer
from core import outbox
from nodes import services as nodes
from nodes.models import Allocation, PortLease
from rentals import reconcile
from rentals import services as rentals
from rentals.models import Rental
from tests import invariants
from tests.hammer.operations import Plan
from tests.hammer.world import World, beat, sign_in

PATIENCE_SECONDS = 60.0


def judge(world: World, told: dict[str, tuple[Plan, str]], deadlocks: int) -> list[str]:
    """Let the world come to rest; return a sentence for everything that is wrong.

    Args:
        told: key -> (plan, answer) of everything with a key that any writer did.
        deadlocks: how many the database had to break.
    """
    wrong = [f"{deadlocks} deadlocks"] if deadlocks else []
    wrong += [] if _rests(world) else ["it never came to rest"]
    wrong += [*_books(), *_answers(told), *_loose_ends()]
    for rental in Rental.objects.exclude(state="ended"):
        rentals.end_rental(actor=Actor.system(), rental_id=rental.pk)
    wrong += [] if _rests(world) else ["it never came to an end"]
    return [*wrong, *_books(), *_nothing_left()]


def _rests(world: World) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for machine in world.machines:
            sign_in(machine)
        beat(world)
        reconcile.sweep()
        reconcile.probe_running()
        reconcile.enforce_limits()
        billing.sweep_exhausted()
        while outbox.drain():
            pass
        nodes.reconcile_ports(server_name="local", proxied=set())
        if invariants.quiet():
            return True
    return False


def _books() -> list[str]:
    audit.seal_new()
    wrong = invariants.broken()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT currency, SUM(amount) FROM ("
            "  SELECT s.currency, -t.amount AS amount FROM billing_transfer t"
            "  JOIN billing_account s ON s.id = t.src_id"
            "  UNION ALL SELECT d.currency, t.amount FROM billing_transfer t"
            "  JOIN billing_account d ON d.id = t.dst_id) e GROUP BY currency HAVING SUM(amount) <> 0"
        )
        wrong += [f"{currency}: entries sum to {total}" for currency, total in cursor.fetchall()]
    below = Account.objects.filter(Q(balance__lt=0) | Q(held__lt=0), floor__isnull=False)
    wrong += [f"{account} is below its floor: {account.balance}" for account in below]
    for rental in Rental.objects.all():
        for line in billing.derive_charges(subject_id=rental.pk):
            if not line.agrees:
                wrong.append(f"{rental}: the audit log bills {line.amount}, posted {line.posted}")
    return wrong


def _answers(told: dict[str, tuple[Plan, str]]) -> list[str]:
    """Every answer is in the ledger once, and nothing is there that nobody planned."""
    done = {
        op: {k: v for k, v in told.items() if v[0]["op"] == op and "refused" not in v[1]}
        for op in ("top_up", "webhook", "rent")
    }
    deposits = Transfer.objects.filter(kind="deposit", idem__startswith="top_up-")
    events = PaymentEvent.objects.exclude(outcome="new").values_list("event_id", flat=True)
    rented = [(f"rental {rental.pk}",) for rental in Rental.objects.all()]
    return [
        *_same("deposits", deposits.values_list("idem", flat=True), done["top_up"]),
        *_same("messages", events, done["webhook"]),
        *_same("rentals", rented, {(answer,) for _, answer in done["rent"].values()}),
        *(
            f"deposit {row.idem}: {row.amount}"
            for row in deposits
            if row.idem in told and row.amount != told[row.idem][0]["amount"]
        ),
        *(
            f"{plan['rental']} was told to end and is {state}"
            for plan, answer in told.values()
            if plan["op"] == "steer" and plan["verb"] == "end" and answer == "done"
            for state in Rental.objects.filter(pk=plan["rental"]).values_list("state", flat=True)
            if state not in {"ended", "stopping"}
        ),
    ]


def _same(what: str, found: Iterable[Any], planned: Iterable[Any]) -> list[str]:
    kept, wanted = list(found), set(planned)
    twice = len(kept) - len(set(kept))
    lost, strange = wanted - set(kept), set(kept) - wanted
    return (
        [f"{what}: {twice} twice, lost {lost}, never answered {strange}"]
        if (twice or lost or strange)
        else []
    )


def _loose_ends() -> list[str]:
    """Open holds and open meters are those of a rental, and the other way round."""
    columns = {
        Hold.objects.filter(released_at=None): ("compute_hold_id", "storage_hold_id"),
        Meter.objects.filter(ended=None): ("compute_meter_id", "storage_meter_id"),
    }
    wrong = []
    for rows, names in columns.items():
        mine = {key for row in Rental.objects.values_list(*names) for key in row if key is not None}
        wrong += _same(rows.model.__name__, rows.values_list("pk", flat=True), mine)
    return wrong


def _nothing_left() -> list[str]:
    left = {
        "holds": Hold.objects.filter(released_at=None),
        "meters": Meter.objects.filter(ended=None),
        "allocations": Allocation.objects.filter(released_at=None),
        "ports": PortLease.objects.filter(workload__isnull=False, released_at=None),
        "held money": Account.objects.exclude(held=0),
        "burning wallets": Account.objects.exclude(burn=0),
    }
    return [f"{rows.count()} {what} left" for what, rows in left.items() if rows.exists()]
