"""Accounts, holds, meters and transfers: what every operation on money ends in."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.lookups import Exact

from core.ids import new_id


class AccountKind(StrEnum):
    WALLET = "wallet"
    # What a host has earned: first here, and free for a payout once it has matured.
    HOST = "host"
    HOST_FREE = "host_free"
    # What a host owes: it had to be given back after it had been paid out.
    HOST_DEBT = "host_debt"
    PLATFORM = "platform"
    GATEWAY = "gateway"
    # On its way out of the house: taken from what is free, not yet told to have arrived.
    PAYOUT = "payout"
    # What a person owes: money that went back to a card after it had been spent.
    RECEIVABLE = "receivable"


# What names the posting that it gives back; `undone` names a refund whose posting was itself reversed.
GIVEN_BACK = [
    "share_back", "fee_back", "refund_share", "refund_fee", "credit_share", "credit_fee", "undone",
]  # fmt: skip


def _says(**lookup: object) -> ExpressionWrapper[Q]:
    """Return a condition as a value that can be compared with another."""
    return ExpressionWrapper(Q(**lookup), output_field=models.BooleanField())


class AccountQuerySet(models.QuerySet["Account"]):
    def lock(self) -> Self:
        """Lock rows in id order until the transaction ends."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def lock_free(self) -> Self:
        """Lock those rows that nobody else holds; the others come another time."""
        return self.select_for_update(no_key=True, of=("self",), skip_locked=True)


class Account(models.Model):
    """A place where money is. `held` is the part of the balance that is set aside and does not burn."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=12, choices=[(k.value, k.value) for k in AccountKind])
    owner_id = models.UUIDField(null=True, blank=True)
    currency = models.CharField(max_length=6)
    # NULL: a system account, without a live balance and without a limit.
    floor = models.BigIntegerField(null=True, blank=True)
    balance = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0)
    burn = models.BigIntegerField(default=0)
    asof = models.BigIntegerField(default=0)
    runs_out = models.BigIntegerField(null=True, blank=True)
    # The last warning before it runs out: within so many seconds. NULL: none that still holds.
    warned = models.BigIntegerField(null=True, blank=True)
    # Nothing new may be spent: a payment is disputed, or something is owed.
    frozen = models.BooleanField(default=False)

    objects = AccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "owner_id", "currency"],
                name="account_once_per_owner",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(floor=None) | Q(balance__gte=F("floor")), name="account_not_below_floor"
            ),
            models.CheckConstraint(condition=Q(held__gte=0), name="account_held_not_negative"),
            models.CheckConstraint(
                condition=Q(held=0) | Q(balance__gte=F("held")), name="account_held_is_there"
            ),
            models.CheckConstraint(
                condition=Q(burn=0, runs_out=None) | Q(burn__gt=0, runs_out__isnull=False),
                name="account_runs_out_when_burning",
            ),
        ]
        indexes = [
            # Serves billing.services.sweep_exhausted.
            models.Index(fields=["runs_out"], name="account_runs_out", condition=~Q(runs_out=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Hold(models.Model):
    """Money set aside in a wallet for a purpose."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, models.PROTECT, related_name="holds")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=40)
    subject_id = models.UUIDField()
    created_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="hold_not_negative"),
        ]

    def __str__(self) -> str:
        return f"hold {self.pk}"


class Meter(models.Model):
    """Something that costs `rate` a second from `started` until `ended`; posted up to `settled`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=20)
    subject_id = models.UUIDField(db_index=True)
    wallet = models.ForeignKey(Account, models.PROTECT, related_name="meters")
    payee = models.ForeignKey(Account, models.PROTECT, related_name="paying_meters")
    # Where it was used (a machine), so that earnings can be told by place; billing knows no more of it.
    place_id = models.UUIDField(null=True, blank=True)
    rate = models.BigIntegerField()
    payee_rate = models.BigIntegerField()
    started = models.BigIntegerField()
    settled = models.BigIntegerField()
    ended = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(rate__gt=0, payee_rate__gte=0, payee_rate__lte=F("rate")),
                name="meter_rates_sane",
            ),
            models.CheckConstraint(
                condition=Q(settled__gte=F("started")) & (Q(ended=None) | Q(ended=F("settled"))),
                name="meter_settled_to_its_end",
            ),
            models.UniqueConstraint(
                fields=["subject_id", "kind"], condition=Q(ended=None), name="meter_open_once"
            ),
        ]
        indexes = [
            # Serves billing.ledger.settle: the open meters of a wallet.
            models.Index(fields=["wallet"], name="meter_open", condition=Q(ended=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} meter {self.pk}"


class Transfer(models.Model):
    """`amount` moved from `src` to `dst`, for ever. [t0, t1) is the metered interval, if any."""

    id = models.BigAutoField(primary_key=True)
    group_id = models.UUIDField()
    # No constraints behind these keys: to check each row by itself is half of the cost of a roll-up. The
    # trigger on INSERT refuses unknown accounts, and neither accounts nor meters can be deleted.
    src = models.ForeignKey(Account, models.PROTECT, related_name="+", db_constraint=False)
    dst = models.ForeignKey(Account, models.PROTECT, related_name="+", db_constraint=False)
    amount = models.BigIntegerField()
    kind = models.CharField(max_length=20)
    idem = models.CharField(max_length=200, null=True, blank=True)
    meter = models.ForeignKey(
        Meter,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="transfers",
        db_constraint=False,
        db_index=False,
    )
    t0 = models.BigIntegerField(null=True, blank=True)
    t1 = models.BigIntegerField(null=True, blank=True)
    # What this pays back, if anything: the posting in which the gap begins.
    reverses = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="transfer_amount_positive"),
            models.CheckConstraint(condition=~Q(src=F("dst")), name="transfer_between_two"),
            models.UniqueConstraint(
                fields=["idem"], condition=~Q(idem=None), name="transfer_idem_once"
            ),
            # PostgreSQL reads the text of each check again for every statement: a long one costs more than the row.
            models.CheckConstraint(
                condition=Exact(
                    _says(kind__regex=f"^({'|'.join(GIVEN_BACK)})$"), _says(reverses__isnull=False)
                ),
                name="transfer_back_names_original",
            ),
            # No second of a meter can be billed twice, whatever the workers do.
            models.UniqueConstraint(
                fields=["meter", "kind", "t0"],
                condition=~Q(meter=None),
                name="transfer_second_billed_once",
            ),
        ]
        indexes = [
            # Serves billing.queries.sums: what is young. Rows come in the order of time, so it costs next to nothing.
            BrinIndex(fields=["created_at"], name="transfer_by_time"),
            # Serves refunds and credits: what was given back of a posting.
            models.Index(
                fields=["reverses"], name="transfer_given_back", condition=~Q(reverses=None)
            ),
            # Serves the legs of one decision: a dispute, a payout, a refund.
            models.Index(fields=["group_id"], name="transfer_of_decision", condition=Q(meter=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"
