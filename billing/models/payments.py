"""Money on its way in: deposits, disputes about them, and what the providers have told."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db import models
from django.db.models import F, Q

from billing.machine import DEPOSIT, DISPUTE, DepositState, DisputeState
from core.ids import new_id


class DepositQuerySet(models.QuerySet["Deposit"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(self, pk: uuid.UUID, frm: DepositState, to: DepositState, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        DEPOSIT.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class Deposit(models.Model):
    """Money on its way into a wallet, and what became of it at the provider."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_id = models.UUIDField(db_index=True)
    email = models.CharField(max_length=254)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=6)
    # How much of it went back to the payer, in all.
    refunded = models.BigIntegerField(default=0)
    provider = models.CharField(max_length=10)
    # Charged by the platform from a saved method, without its owner being there.
    auto = models.BooleanField(default=False)
    # Whether the payer lets the method be used again.
    remember = models.BooleanField(default=False)
    # The checkout at the provider (of an automatic one the payer), and the payment that came of it: disputes name
    # only the latter.
    ref = models.CharField(max_length=200, blank=True, default="")
    payment = models.CharField(max_length=200, blank=True, default="", db_index=True)
    url = models.CharField(max_length=2000, blank=True, default="")
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in DepositState])
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    # When the provider was last asked about it, because no webhook came; of an automatic one, also to charge it: until
    # then nothing can have been charged.
    asked_at = models.DateTimeField(null=True, blank=True)

    objects = DepositQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="deposit_amount_positive"),
            # A wallet fills itself once at a time.
            models.UniqueConstraint(
                fields=["owner_id"],
                condition=Q(auto=True, state__in=["created", "pending"]),
                name="deposit_auto_one_in_flight",
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=0, refunded__lte=F("amount")), name="deposit_refund_fits"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in DepositState]), name="deposit_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"deposit {self.pk}"


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def move(self, pk: uuid.UUID, frm: DisputeState, to: DisputeState, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        DISPUTE.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class Dispute(models.Model):
    """A payer's bank asks for a deposit back. `amount` of `asked` was taken; the lock of the deposit guards it.

    Once it is lost both are the same, even if some of the deposit had been sent back before.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    deposit = models.ForeignKey(Deposit, models.PROTECT, related_name="disputes")
    ref = models.CharField(max_length=200)
    asked = models.BigIntegerField()
    amount = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in DisputeState])
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["deposit", "ref"], name="dispute_once"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="dispute_not_negative"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in DisputeState]), name="dispute_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"dispute {self.pk}"


class PaymentEventQuerySet(models.QuerySet["PaymentEvent"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class PaymentEvent(models.Model):
    """One message of a provider, kept once: the second of the same id changes nothing."""

    provider = models.CharField(max_length=10)
    event_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    # Not a foreign key: an event may name a deposit that is not ours.
    deposit_id = models.UUIDField(null=True, blank=True, db_index=True)
    payment = models.CharField(max_length=200, blank=True, default="", db_index=True)
    # What it is about at the provider, and how much (nano-units), so that it can be applied later.
    ref = models.CharField(max_length=200, blank=True, default="")
    amount = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=6, blank=True, default="")
    outcome = models.CharField(max_length=40)
    note = models.CharField(max_length=200, blank=True, default="")
    at = models.DateTimeField()

    objects = PaymentEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="payment_event_once"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"
