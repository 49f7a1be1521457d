"""What a writer does: a plan that is written down first, then the deed, which may be done again after a death.

A plan is plain data. What has a key (a deposit, a provider's message, a rent) is repeated by the next writer
until somebody has seen its answer; what has none is over when its writer dies, done or not.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts.actors import Actor
from billing import services as billing
from billing.models import Deposit
from billing.providers.base import Kind, ProviderEvent
from core import clock, money, outbox
from core.errors import DomainError
from nodes import gateway
from nodes import services as nodes
from nodes.models import Node, Offer
from rentals import reconcile
from rentals import services as rentals
from rentals.machine import State, actions
from rentals.models import Rental, Template
from tests.hammer.world import World, actor_of, beat, report, sign_in

CENT = money.NANO // 100
Plan = dict[str, Any]
# What moves money or may; the others make the world go on.
MONEY = {
    "top_up", "webhook", "rent", "steer", "sweep", "roll_up", "lose", "limit", "collect",
}  # fmt: skip
KEYED = {"top_up", "webhook", "rent"}
WEIGHTS = {
    "top_up": 4, "webhook": 6, "rent": 8, "steer": 8, "sweep": 4, "roll_up": 3, "lose": 2, "limit": 2,
    "collect": 1, "report": 16, "drain": 14, "look": 3,
}  # fmt: skip


class Writer:
    """Plans by its own dice and does what is planned."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.told: list[Plan] = []

    def plan(self) -> Plan:
        """Return what to do next, everything that matters decided."""
        [op] = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        make: Callable[[], Plan] = getattr(self, f"_plan_{op}", dict)
        return {"op": op, "key": f"{op}-{uuid.UUID(int=self.dice.getrandbits(128))}", **make()}

    def do(self, plan: Plan) -> str:
        """Do it; return what came of it, the code of a refusal included."""
        try:
            return str(getattr(self, f"_{plan['op']}")(plan))
        except DomainError as refused:
            return f"refused {refused.code}"
        except gateway.Fenced:
            # Another writer let this machine sign in again meanwhile.
            return "refused fenced"

    def _someone(self) -> str:
        return str(self.dice.choice(self.world.renters))

    # --- Money from outside

    def _plan_top_up(self) -> Plan:
        return {"who": self._someone(), "amount": self.dice.choice([1, 7 * CENT, 150 * CENT])}

    def _top_up(self, plan: Plan) -> str:
        billing.deposit(
            actor=Actor.system(),
            owner_id=uuid.UUID(plan["who"]),
            amount=plan["amount"],
            idem=plan["key"],
        )
        return "done"

    def _plan_webhook(self) -> Plan:
        if self.told and self.dice.random() < 0.3:
            return {**self.dice.choice(self.told)}
        deposits = list(Deposit.objects.order_by("-created_at")[:12])
        if not deposits or self.dice.random() < 0.5:
            asked = billing.request_deposit(
                actor=actor_of(uuid.UUID(self._someone())),
                amount=self.dice.choice([1, 2, 5]) * money.NANO,
                idempotency_key=str(self.dice.getrandbits(100)),
            )
            return self._message(asked, Kind.PAID, asked.amount)
        found = self.dice.choice(deposits)
        kind = self.dice.choice(
            [
                Kind.PAID,
                Kind.REFUNDED,
                Kind.BOUNCED,
                Kind.DISPUTED,
                Kind.DISPUTE_WON,
                Kind.DISPUTE_LOST,
            ]
        )
        return self._message(
            found, kind, found.amount // self.dice.choice([1, 2]) if kind != Kind.PAID else found.amount
        )  # fmt: skip

    def _message(self, found: Deposit, kind: Kind, amount: int) -> Plan:
        plan = {
            "key": f"ev-{self.dice.getrandbits(100)}", "kind": kind.value, "deposit": str(found.pk),
            "amount": amount, "ref": f"{self.dice.choice([1, 2])}-{found.pk}",
        }  # fmt: skip
        self.told.append(plan)
        return plan

    def _webhook(self, plan: Plan) -> str:
        kind = Kind(plan["kind"])
        disputed = kind in {Kind.DISPUTED, Kind.DISPUTE_WON, Kind.DISPUTE_LOST}
        event = ProviderEvent(
            id=plan["key"],
            kind=kind,
            deposit_id=None if disputed else uuid.UUID(plan["deposit"]),
            amount=plan["amount"],
            currency=settings.CURRENCY,
            ref=f"dp-{plan['ref']}" if disputed else f"re-{plan['ref']}",
            payment=f"pi-{plan['deposit']}",
        )
        return billing.apply_event(provider=settings.DC.payments, event=event)

    def _collect(self, plan: Plan) -> int:
        return billing.collect_debts()

    # --- Rentals

    def _plan_rent(self) -> Plan:
        who = uuid.UUID(self._someone())
        offers = list(Offer.objects.filter(listed=True).order_by("pk"))
        if not offers:
            return {"op": "look"}
        offer = self.dice.choice(offers)
        try:
            quote = rentals.quote_offer(
                actor=actor_of(who),
                offer_id=offer.pk,
                template_id=Template.objects.get(slug="demo").pk,
                gpu_count=min(self.dice.choice([1, 2]), offer.gpu_free),
            )
        except DomainError:
            # Taken in this moment.
            return {"op": "look"}
        return {"who": str(who), "quote": str(quote.pk)}

    def _rent(self, plan: Plan) -> str:
        made = rentals.request_rental(
            actor=actor_of(uuid.UUID(plan["who"])),
            quote_id=uuid.UUID(plan["quote"]),
            ssh_key_ids=None,
            idempotency_key=plan["key"],
        )
        return f"rental {made.pk}"

    def _plan_steer(self) -> Plan:
        live = list(Rental.objects.exclude(state="ended").order_by("pk"))
        if not live:
            return {"op": "drain"}
        rental = self.dice.choice(live)
        verbs = [action.value for action in actions(State(rental.state), ending=False)]
        # Now and then something that cannot be done.
        verbs = verbs if self.dice.random() < 0.9 else ["stop", "start", "restart"]
        return {
            "rental": str(rental.pk),
            "who": str(rental.renter_id),
            "verb": self.dice.choice(verbs),
        }

    def _steer(self, plan: Plan) -> str:
        who, rental_id = actor_of(uuid.UUID(plan["who"])), uuid.UUID(plan["rental"])
        if plan["verb"] == "recreate":
            rentals.recreate_rental(actor=who, rental_id=rental_id, confirmed=True)
        else:
            getattr(rentals, f"{plan['verb']}_rental")(actor=who, rental_id=rental_id)
        return "done"

    def _plan_limit(self) -> Plan:
        found = self._plan_steer()
        more = {"op": "limit", "cents": self.dice.choice([5, 50, 200])}
        return {**found, **more} if "rental" in found else found

    def _limit(self, plan: Plan) -> str:
        rental_id = uuid.UUID(plan["rental"])
        rentals.set_limits(
            actor=actor_of(uuid.UUID(plan["who"])),
            rental_id=rental_id,
            ends_at=clock.now() + dt.timedelta(minutes=plan["cents"]),
            spend_cap=billing.bill_of(subject_id=rental_id).total + plan["cents"] * CENT,
        )
        return "done"

    # --- Clocks and machines

    def _sweep(self, plan: Plan) -> int:
        beat(self.world)
        reconcile.enforce_limits()
        return billing.sweep_exhausted()

    def _roll_up(self, plan: Plan) -> int:
        return billing.roll_up(chunk=2)

    def _plan_lose(self) -> Plan:
        return {"machine": self.dice.randrange(len(self.world.machines))}

    def _lose(self, plan: Plan) -> str:
        """A machine falls silent until it counts as lost; the others are heard."""
        machine = self.world.machines[plan["machine"]]
        silent = clock.now() - dt.timedelta(seconds=self.dice.choice([20, 40, 300]))
        beat(self.world)
        Node.objects.filter(pk=machine["node"], last_beat__gt=silent).update(last_beat=silent)
        nodes.sweep_liveness()
        return "done"

    _plan_report = _plan_lose

    def _report(self, plan: Plan) -> str:
        machine = self.world.machines[plan["machine"]]
        status = Node.objects.values_list("status", flat=True).get(pk=machine["node"])
        sign_in(machine) if status in {"offline", "suspect"} else report(machine)
        return "done"

    def _drain(self, plan: Plan) -> int:
        beat(self.world)
        return outbox.drain(limit=20)

    def _look(self, plan: Plan) -> str:
        reconcile.sweep()
        reconcile.probe_running()
        return "done"
