"""Quotes and rentals: the contract between a renter and a machine."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q

from billing.models import Meter
from core import clock
from core.ids import new_id
from rentals.machine import PRICE, RENTAL, PriceState, State

# What can be started; of one app, so that Django finds them with the other tables.
from rentals.templates import Template as Template
from rentals.templates import TemplateVersion as TemplateVersion

if TYPE_CHECKING:
    from accounts.actors import Actor


class QuoteQuerySet(models.QuerySet["Quote"]):
    def lock(self) -> Self:
        """Lock quotes, so that two requests with different keys cannot both rent one."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class Quote(models.Model):
    """A price shown to one person, honoured until it expires. Rates in nano-units per second."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="quotes")
    offer = models.ForeignKey("nodes.Offer", models.CASCADE, related_name="quotes")
    version = models.ForeignKey(TemplateVersion, models.PROTECT, related_name="quotes")
    gpu_count = models.PositiveSmallIntegerField()
    disk_gb = models.PositiveIntegerField()
    compute_rate = models.BigIntegerField()
    storage_rate = models.BigIntegerField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    objects = QuoteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"quote {self.pk}"


class RentalQuerySet(models.QuerySet["Rental"]):
    def visible_to(self, actor: Actor) -> Self:
        """Rentals of this renter, and those on this host's machines (staff: all)."""
        if actor.is_staff:
            return self
        return self.filter(Q(renter_id=actor.user_id) | Q(node__owner_id=actor.user_id))

    def of_renter(self, actor: Actor) -> Self:
        """Rentals that this actor may steer."""
        return self if actor.is_staff else self.filter(renter_id=actor.user_id)

    def with_plans(self) -> Self:
        """Running rentals that may have to be stopped, or warned, at an instant known in advance."""
        planned = Q(ends_at__isnull=False) | Q(spend_cap__isnull=False)
        planned |= Q(idle_minutes__isnull=False) | ~Q(checkpoint_command="")
        return self.filter(planned, state=State.RUNNING.value)

    def price_due(self) -> Self:
        """Rentals whose price lock has ended, but those that stand still until a price is accepted."""
        waits = PriceChange.objects.filter(rental=OuterRef("pk"), closed_at=None, at_term=True)
        waits = waits.exclude(state=PriceState.ACCEPTED.value)
        still = [State.STOPPING.value, State.STOPPED.value]
        over = self.filter(price_until__lte=clock.now()).exclude(state=State.ENDED.value)
        return over.exclude(Exists(waits), state__in=still)

    def price_unsettled(self) -> Self:
        """Rentals whose price lock ends within the notice, and those with a price that nobody can answer."""
        now = clock.now()
        soon = now + dt.timedelta(days=settings.DC.price_notice_days)
        open_ones = Q(price_changes__closed_at=None, price_changes__isnull=False)
        dead = open_ones & (
            Q(state=State.ENDED.value)
            | Q(price_changes__at_term=False, price_changes__starts_at__lte=now)
        )
        near = Q(price_until__lte=soon) & ~Q(state=State.ENDED.value)
        return self.filter(near | dead).distinct()

    def used_at(self, host: str, since: dt.datetime) -> Self:
        """Rentals behind one public address that were billed for work at an instant, started again since or not."""
        at = clock.to_epoch(since)
        lived = Q(ended_at=None) | Q(ended_at__gt=since)
        work = Meter.objects.filter(subject_id=OuterRef("pk"), kind="compute", started__lte=at)
        billed = Exists(work.filter(Q(ended=None) | Q(ended__gt=at)))
        return self.filter(lived, billed, ssh_host=host).order_by("pk")

    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(self, pk: uuid.UUID, frm: State, to: State, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        RENTAL.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class Rental(models.Model):
    """One renter's use of one machine. What runs is the workload's business; this is what was agreed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    renter = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="rentals")
    node = models.ForeignKey("nodes.Node", models.PROTECT, related_name="rentals")
    # What it was started from, and is for ever, whatever becomes of the template.
    version = models.ForeignKey(TemplateVersion, models.PROTECT, related_name="rentals")
    quote = models.OneToOneField(Quote, models.PROTECT, related_name="rental")
    workload_id = models.UUIDField(unique=True)
    state = models.CharField(max_length=20, choices=[(s.value, s.value) for s in State])
    phase_since = models.DateTimeField()
    gpu_count = models.PositiveSmallIntegerField()
    disk_gb = models.PositiveIntegerField()
    compute_rate = models.BigIntegerField()
    storage_rate = models.BigIntegerField()
    # From when these rates hold, and until when nobody can change them without the renter's consent.
    price_since = models.DateTimeField()
    price_until = models.DateTimeField()
    # That is later than usual because of the end date named when renting, and only as long as that stands.
    price_by_end = models.BooleanField(default=False)
    fee_bps = models.PositiveIntegerField()
    ssh_keys = models.JSONField()
    ssh_host = models.CharField(max_length=200)
    ports = models.JSONField()
    compute_hold_id = models.UUIDField(null=True, blank=True)
    storage_hold_id = models.UUIDField(null=True, blank=True)
    compute_meter_id = models.UUIDField(null=True, blank=True)
    storage_meter_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    running_since = models.DateTimeField(null=True, blank=True)
    # The container has not been seen stopped since this instant, at which a stop or a restart ended
    # the bill: it is billed on from there when it answers again.
    billed_until = models.DateTimeField(null=True, blank=True)
    # The last good probe, the last one at all, and how many were missed since the good one, until when.
    last_probe = models.DateTimeField(null=True, blank=True)
    probed_at = models.DateTimeField(null=True, blank=True)
    missed_probes = models.PositiveSmallIntegerField(default=0)
    missed_at = models.DateTimeField(null=True, blank=True)
    # Probes in a row that reached the container and found no SSH server there.
    silent_probes = models.PositiveSmallIntegerField(default=0)
    silent_since = models.DateTimeField(null=True, blank=True)
    # The renter's own limits: it is stopped at this instant, or when it has cost this much (nano-units).
    ends_at = models.DateTimeField(null=True, blank=True)
    spend_cap = models.BigIntegerField(null=True, blank=True)
    cap_warned_at = models.DateTimeField(null=True, blank=True)
    # Since when the ports of a long-stopped rental are back in the pool: a start gives it others.
    address_given_up = models.DateTimeField(null=True, blank=True)
    # Stopped after so many minutes of doing next to nothing; since when it does, and when that was told.
    idle_minutes = models.PositiveSmallIntegerField(null=True, blank=True)
    idle_since = models.DateTimeField(null=True, blank=True)
    idle_warned_at = models.DateTimeField(null=True, blank=True)
    # Run inside before the platform stops it; when it was told to run for the stop that is planned now.
    checkpoint_command = models.CharField(max_length=1000, blank=True, default="")
    checkpoint_seconds = models.PositiveSmallIntegerField(default=60)
    checkpointed_at = models.DateTimeField(null=True, blank=True)
    end_warned_at = models.DateTimeField(null=True, blank=True)
    unreachable_since = models.DateTimeField(null=True, blank=True)
    # A fresh container was asked for and has not been usable yet: nothing is on its disk that could be lost.
    fresh = models.BooleanField(default=False)
    ended_at = models.DateTimeField(null=True, blank=True)
    # {party, code, message, fault, refund}: why it stopped or ended.
    end = models.JSONField(null=True, blank=True)

    objects = RentalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in State]), name="rental_state_known"
            ),
            models.CheckConstraint(
                condition=Q(state="running") | Q(compute_meter_id=None),
                name="rental_compute_billed_only_while_running",
            ),
            models.CheckConstraint(
                condition=~Q(state="ended")
                | Q(
                    compute_meter_id=None,
                    storage_meter_id=None,
                    compute_hold_id=None,
                    storage_hold_id=None,
                    ended_at__isnull=False,
                ),
                name="rental_ended_holds_nothing",
            ),
            models.CheckConstraint(
                condition=Q(spend_cap=None) | Q(spend_cap__gt=0), name="rental_cap_positive"
            ),
        ]
        indexes = [
            # Serves rentals.reconcile: what is on the way somewhere.
            models.Index(fields=["state"], name="rental_open", condition=~Q(state="ended")),
            models.Index(fields=["renter", "-created_at"], name="rental_of_renter"),
            # Serves rentals.reconcile: whose price lock ends soon.
            models.Index(
                fields=["price_until"], name="rental_price_until", condition=~Q(state="ended")
            ),
        ]

    def __str__(self) -> str:
        return f"rental {self.pk}"


class FailedStart(models.Model):
    """Time of a machine that cost nothing: a start that failed or was late the first time, or a slow stop.

    There is a limit on it (`rentals.services.brake`).
    """

    id = models.BigAutoField(primary_key=True)
    renter = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    rental = models.ForeignKey(Rental, models.CASCADE, related_name="failed_starts")
    code = models.CharField(max_length=40)
    # For how long it held its machine unpaid.
    seconds = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["renter", "at"], name="failed_start_of_renter")]

    def __str__(self) -> str:
        return f"{self.code} of rental {self.rental_id}"


class Preflight(models.Model):
    """What one person's newest pre-flight of an offer at one size found; kept for a day.

    `image` is as the template names it, `digest` what the registry had there (empty: it could not be asked).
    `checks` are rentals.services.preflight.checks.Check, `prediction` is its Prediction, both as JSON.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="preflights")
    offer = models.ForeignKey("nodes.Offer", models.CASCADE, related_name="preflights")
    image = models.CharField(max_length=500)
    gpu_count = models.PositiveSmallIntegerField()
    disk_gb = models.PositiveIntegerField()
    verdict = models.CharField(max_length=4)
    checks = models.JSONField()
    digest = models.CharField(max_length=71, blank=True, default="")
    prediction = models.JSONField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "offer", "image", "gpu_count", "disk_gb"],
                name="preflight_newest_only",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=["ok", "warn", "fail"]), name="preflight_verdict_known"
            ),
        ]

    def __str__(self) -> str:
        return f"preflight of {self.image}: {self.verdict}"


class Start(models.Model):
    """How a rental's first start went, beside what had been predicted. Milliseconds; null is unknown.

    A phase's time grows until the rental runs: waiting for its machine, downloading, starting.
    """

    rental = models.OneToOneField(Rental, models.CASCADE, primary_key=True, related_name="start")
    digest = models.CharField(max_length=71, blank=True, default="")
    prediction = models.JSONField(null=True, blank=True)
    predicted_ms = models.BigIntegerField(null=True, blank=True)
    reserved_ms = models.BigIntegerField(default=0)
    pulling_ms = models.BigIntegerField(default=0)
    starting_ms = models.BigIntegerField(default=0)
    ready_ms = models.BigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"start of {self.rental_id}"


class PriceChangeQuerySet(models.QuerySet["PriceChange"]):
    def move(self, pk: uuid.UUID, frm: PriceState, to: PriceState, **fields: Any) -> bool:
        """Change the state by a legal move; False when somebody else moved it first."""
        PRICE.check(frm, to)
        return bool(self.filter(pk=pk, state=frm).update(state=to.value, **fields))


class PriceChange(models.Model):
    """Another price for a rental: asked for, answered, and one day in force. The rental's lock guards it.

    `at_term` says which kind it is: the price of the next term, or a raise that the host asks for inside the
    lock. `starts_at` is when it holds from, for a raise inside the lock until when it can be accepted.
    Rates in nano-units per second.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rental = models.ForeignKey(Rental, models.CASCADE, related_name="price_changes")
    at_term = models.BooleanField()
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in PriceState])
    old_compute_rate = models.BigIntegerField()
    old_storage_rate = models.BigIntegerField()
    compute_rate = models.BigIntegerField()
    storage_rate = models.BigIntegerField()
    starts_at = models.DateTimeField()
    created_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = PriceChangeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in PriceState]), name="price_state_known"
            ),
            models.CheckConstraint(
                condition=Q(compute_rate__gte=0, storage_rate__gte=0), name="price_not_negative"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["applied", "lapsed"]) | Q(closed_at__isnull=False),
                name="price_closed_when_final",
            ),
            models.UniqueConstraint(
                fields=["rental"], condition=Q(closed_at=None), name="price_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"price change {self.pk}"
