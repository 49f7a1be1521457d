"""What search, market page and pre-flight read: one offer a machine, its images, what each model has cost."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from core.ids import new_id
from nodes.repricing import LEAST_STEP_BP, MOST_STEP_BP, TARGET_RANGE_BP

# `nodes.search` packs a sort value and this number into 63 bits.
MOST_OFFERS = 2**26


class Offer(models.Model):
    """What can be rented on a machine now, in typed columns; `nodes.services.listing` keeps it true.

    What is not known is null (a text: empty), never 0. Rates are nano-units a second, by the card on a
    GPU machine and for the whole of another; a rental's compute costs at least `minimum_rate` however few cards
    it takes. `number` orders offers for good. `changed_seq` is the transaction that wrote the row last: the
    database sets both (see `nodes.triggers`), so no writer can forget it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    number = models.BigIntegerField(unique=True, null=True, editable=False)
    changed_seq = models.BigIntegerField(null=True, editable=False)
    node = models.OneToOneField("nodes.Node", models.CASCADE, related_name="offer")
    listed = models.BooleanField(default=False)
    hidden_because = models.CharField(max_length=20, blank=True, default="")
    tier = models.CharField(max_length=20)
    gpu_model = models.CharField(max_length=200, blank=True, default="")
    gpu_vendor = models.CharField(max_length=20, blank=True, default="")
    gpu_total = models.PositiveSmallIntegerField(default=0)
    gpu_free = models.PositiveSmallIntegerField(default=0)
    vram_mib = models.PositiveIntegerField(null=True, blank=True)
    gflops = models.PositiveIntegerField(null=True, blank=True)
    memory_bandwidth_gbs = models.PositiveIntegerField(null=True, blank=True)
    compute_capability = models.PositiveSmallIntegerField(null=True, blank=True)
    cuda = models.PositiveSmallIntegerField(null=True, blank=True)
    driver = models.BigIntegerField(null=True, blank=True)
    mig = models.BooleanField(null=True, blank=True)
    pcie_generation = models.PositiveSmallIntegerField(null=True, blank=True)
    pcie_lanes = models.PositiveSmallIntegerField(null=True, blank=True)
    cpu_model = models.CharField(max_length=200, blank=True, default="")
    cpu_cores = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    architecture = models.CharField(max_length=20, blank=True, default="")
    os = models.CharField(max_length=200, blank=True, default="")
    disk_gb = models.PositiveIntegerField()
    compute_rate = models.BigIntegerField()
    storage_gb_rate = models.BigIntegerField()
    minimum_rate = models.BigIntegerField(default=0)
    reliability_bp = models.PositiveSmallIntegerField(null=True, blank=True)
    ready_seconds = models.PositiveIntegerField(null=True, blank=True)
    region = models.CharField(max_length=40, blank=True, default="")
    country = models.CharField(max_length=2, blank=True, default="")
    isolation = models.CharField(max_length=20, default="runc")
    disk_quota = models.BooleanField(default=False)
    simulated = models.BooleanField(default=False)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(number__isnull=True) | Q(number__gt=0, number__lt=MOST_OFFERS),
                name="offer_number_fits_a_sort_key",
            ),
            models.CheckConstraint(
                condition=Q(listed=True, hidden_because="")
                | (Q(listed=False) & ~Q(hidden_because="")),
                name="offer_hidden_for_a_reason",
            ),
        ]
        indexes = [
            # Serves nodes.search: what has changed since it looked last.
            models.Index(fields=["changed_seq"], name="offer_changed"),
        ]

    def __str__(self) -> str:
        return f"offer of {self.node_id}"


class SmartPrice(models.Model):
    """A host's wishes for the price of a machine, and where smart pricing is with it; off unless switched on.

    The rates are those of the price that it `steers`: `Node.gpu_rate`, or `Node.cpu_node_rate` of a machine that
    had no cards when the wishes were written. What the last step was stays when it is switched off and on again, so
    that a switch gains nobody a step.
    """

    node = models.OneToOneField(
        "nodes.Node", models.CASCADE, related_name="smart_price", primary_key=True
    )
    on = models.BooleanField(default=False)
    steers = models.CharField(
        max_length=13, choices=[(c, c) for c in ("gpu_rate", "cpu_node_rate")]
    )
    floor_rate = models.BigIntegerField()
    ceiling_rate = models.BigIntegerField()
    target_bp = models.PositiveSmallIntegerField()
    direction = models.SmallIntegerField(default=0)
    pace_bp = models.PositiveSmallIntegerField(default=MOST_STEP_BP)
    stepped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(floor_rate__gt=0, ceiling_rate__gte=models.F("floor_rate")),
                name="smart_price_bounds",
            ),
            models.CheckConstraint(
                condition=Q(target_bp__range=TARGET_RANGE_BP), name="smart_price_target"
            ),
            models.CheckConstraint(
                condition=Q(direction__range=(-1, 1))
                & Q(pace_bp__range=(LEAST_STEP_BP, MOST_STEP_BP)),
                name="smart_price_course",
            ),
        ]
        indexes = [
            # Serves the clock: whose price it may change.
            models.Index(fields=["node"], name="smart_price_on", condition=Q(on=True)),
        ]

    def __str__(self) -> str:
        return f"smart price of {self.node_id}"


class ModelPrice(models.Model):
    """What hosts asked for free cards of one model in one hour, nano-units a second each; one voice a host.

    `free` cards of so many `hosts`. `gpu_model` is empty for machines without a card, which are rented whole.
    Simulated machines do not count.
    """

    KEPT_DAYS = 366
    # A median of fewer hosts than this is what one of them wishes it to be.
    LEAST_HOSTS = 3

    id = models.BigAutoField(primary_key=True)
    gpu_model = models.CharField(max_length=200, blank=True)
    hour = models.DateTimeField()
    free = models.PositiveIntegerField()
    hosts = models.PositiveIntegerField()
    p10 = models.BigIntegerField()
    p50 = models.BigIntegerField()
    p90 = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["gpu_model", "hour"], name="model_price_once_an_hour")
        ]
        indexes = [
            # Serves pages of all models, and forgetting.
            models.Index(fields=["-hour", "gpu_model"], name="model_price_newest")
        ]

    def __str__(self) -> str:
        return f"{self.gpu_model} at {self.hour:%Y-%m-%d %H}h"


class ImageStore(models.Model):
    """Which image layers a machine holds, and what its newest downloads add up to, as its agent tells them.

    `chains` are shortened chain ids (see hostagent.protocol.ImageCache). No row: nobody knows.
    """

    node = models.OneToOneField(
        "nodes.Node", models.CASCADE, related_name="images", primary_key=True
    )
    chains = ArrayField(models.CharField(max_length=32))
    pulls = models.PositiveSmallIntegerField(default=0)
    pulled_bytes = models.BigIntegerField(default=0)
    download_ms = models.BigIntegerField(default=0)
    unpack_ms = models.BigIntegerField(default=0)
    told_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"images of {self.node_id}"
