"""Machines, their cards, what should run on them and what does, and the public ports they may open."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.ids import new_id
from nodes.machine import NODE, WISH, NodeStatus, Wish

# What the search reads; of one app, so that Django finds them with the other tables.
from nodes.market import ImageStore as ImageStore
from nodes.market import ModelPrice as ModelPrice
from nodes.market import Offer as Offer
from nodes.market import SmartPrice as SmartPrice
from nodes.models.tunnels import ProxyServer as ProxyServer
from nodes.models.tunnels import TunnelOutage as TunnelOutage

if TYPE_CHECKING:
    from accounts.actors import Actor


def _one_of(field: str, values: list[str]) -> Q:
    return Q(**{f"{field}__in": values})


class Tier(models.TextChoices):
    CPU = "CPU", "CPU"
    CONSUMER_GPU = "CONSUMER_GPU", "Consumer GPU"
    HPC = "HPC", "HPC"


class NodeQuerySet(models.QuerySet["Node"]):
    def visible_to(self, actor: Actor) -> Self:
        """The nodes this actor manages (staff: all)."""
        return self if actor.is_staff else self.filter(owner_id=actor.user_id)

    def lock(self) -> Self:
        """Lock rows in id order until the transaction ends."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(self, pk: uuid.UUID, frm: NodeStatus, to: NodeStatus) -> bool:
        """Change the status by a legal move; False when somebody else moved it first."""
        NODE.check(frm, to)
        return bool(self.filter(pk=pk, status=frm).update(status=to))


class Node(models.Model):
    """A machine that its owner lists. `generation` rises with every change of what should run there."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=80)
    status = models.CharField(
        max_length=20,
        choices=[(s.value, s.value) for s in NodeStatus],
        default=NodeStatus.OFFLINE.value,
    )
    tier = models.CharField(max_length=20, choices=Tier.choices, default=Tier.CPU)
    agent_version = models.CharField(max_length=40, blank=True, default="")
    facts = models.JSONField(default=dict)
    checks = models.JSONField(default=list)
    cpu_cores = models.PositiveIntegerField(default=0)
    memory_mib = models.PositiveIntegerField(default=0)
    disk_gb = models.PositiveIntegerField(default=0)
    country = models.CharField(max_length=2, blank=True, default="")
    city = models.CharField(max_length=80, blank=True, default="")
    region = models.CharField(max_length=40, blank=True, default="")
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    # Rates in nano-units per second, rounded once when the host publishes a price.
    gpu_rate = models.BigIntegerField(default=0)
    cpu_node_rate = models.BigIntegerField(default=0)
    storage_gb_rate = models.BigIntegerField(default=0)
    minimum_rate = models.BigIntegerField(default=0)
    simulated = models.BooleanField(default=False)
    generation = models.BigIntegerField(default=0)
    epoch = models.BigIntegerField(default=0)
    draining = models.BooleanField(default=False)
    # Measured; null until it is known. Hundredths of a percent; seconds from order to running container.
    reliability_bp = models.PositiveSmallIntegerField(null=True, blank=True)
    ready_seconds = models.PositiveIntegerField(null=True, blank=True)
    last_beat = models.DateTimeField(null=True, blank=True)
    tunnel_run_id = models.CharField(max_length=64, blank=True, default="")
    tunnel_secret_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()

    objects = NodeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=_one_of("status", [s.value for s in NodeStatus]), name="node_status_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    gpu_rate__gte=0,
                    cpu_node_rate__gte=0,
                    storage_gb_rate__gte=0,
                    minimum_rate__gte=0,
                ),
                name="node_rates_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class NodeKeyQuerySet(models.QuerySet["NodeKey"]):
    def visible_to(self, actor: Actor) -> Self:
        return self if actor.is_staff else self.filter(owner_id=actor.user_id)

    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class NodeKey(models.Model):
    """The secret a host gives to one agent. It binds to one Ed25519 public key for ever."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="node_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    public_key = models.CharField(max_length=64, blank=True, default="")
    node = models.ForeignKey(Node, models.PROTECT, null=True, blank=True, related_name="keys")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = NodeKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(public_key="", node=None) | (~Q(public_key="") & Q(node__isnull=False)),
                name="node_key_bound_to_key_and_node_together",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class Gpu(models.Model):
    """One card of a node."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, models.CASCADE, related_name="gpus")
    uuid = models.CharField(max_length=80)
    index = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=80)
    vram_mib = models.PositiveIntegerField()
    details = models.JSONField(default=dict)
    present = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "uuid"], name="gpu_once_per_node")]

    def __str__(self) -> str:
        return f"{self.model} {self.uuid}"


class WorkloadQuerySet(models.QuerySet["Workload"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")

    def move(
        self, pk: uuid.UUID, frm: Wish, to: Wish, *, at_generation: int, incarnation: int
    ) -> bool:
        """Change the wish by a legal move; False when somebody else changed it first."""
        WISH.check(frm, to)
        return bool(
            self.filter(pk=pk, wish=frm).update(
                wish=to, node_generation=at_generation, generation=incarnation
            )
        )


class Workload(models.Model):
    """What should run on a node (wish, with a generation) and what does (observed).

    Its owner (a rental, a job attempt) is known by `subject_id` only. `generation` counts incarnations;
    `node_generation` is the node's counter at the last change of the wish. Secret values of the spec live
    in `sealed_env`, encrypted.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="workloads")
    subject_id = models.UUIDField()
    wish = models.CharField(max_length=20, choices=[(w.value, w.value) for w in Wish])
    generation = models.PositiveIntegerField(default=1)
    node_generation = models.BigIntegerField()
    acked_generation = models.BigIntegerField(default=0)
    spec = models.JSONField()
    sealed_env = models.TextField(blank=True, default="")
    stop_reason = models.CharField(max_length=100, blank=True, default="")
    observed_state = models.CharField(max_length=20, blank=True, default="")
    observed_generation = models.PositiveIntegerField(default=0)
    observed = models.JSONField(default=dict)
    # When its agent last told something new, traffic and idleness included.
    observed_at = models.DateTimeField(null=True, blank=True)
    # Since when it is seen in this state, by this incarnation and after as many restarts; no other news moves it.
    state_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = WorkloadQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=_one_of("wish", [w.value for w in Wish]), name="workload_wish_known"
            ),
        ]
        indexes = [
            # Serves nodes.queries.desired_set: everything of a node that may still exist there.
            models.Index(
                fields=["node"], name="workload_open", condition=~Q(observed_state="absent")
            ),
            models.Index(fields=["subject_id"], name="workload_subject"),
        ]

    def __str__(self) -> str:
        return f"workload {self.pk}"

    @property
    def gone(self) -> bool:
        """Whether the agent has confirmed that nothing of this workload is left."""
        return self.wish == Wish.ABSENT and self.observed_state == "absent"


class WorkloadLogQuerySet(models.QuerySet["WorkloadLog"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class WorkloadLog(models.Model):
    """The last words of a workload's container, kept for a while after it has ended."""

    workload = models.OneToOneField(Workload, models.CASCADE, related_name="log", primary_key=True)
    text = models.TextField()
    at = models.DateTimeField(db_index=True)
    # Whoever it is about was told that it goes soon.
    warned = models.BooleanField(default=False)

    objects = WorkloadLogQuerySet.as_manager()


class Allocation(models.Model):
    """The part of a node that one workload holds until the agent confirms that it is gone."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="allocations")
    workload = models.ForeignKey(Workload, models.PROTECT, related_name="allocations")
    whole_node = models.BooleanField()
    cpu_cores = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gb = models.PositiveIntegerField()
    opened_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["node"],
                condition=Q(released_at=None, whole_node=True),
                name="allocation_whole_node_once",
            ),
            models.UniqueConstraint(
                fields=["workload"],
                condition=Q(released_at=None),
                name="allocation_once_per_workload",
            ),
        ]

    def __str__(self) -> str:
        return f"allocation {self.pk}"


class GpuAllocation(models.Model):
    """One open row a card at most."""

    id = models.BigAutoField(primary_key=True)
    gpu = models.ForeignKey(Gpu, models.PROTECT, related_name="allocations")
    allocation = models.ForeignKey(Allocation, models.PROTECT, related_name="gpus")
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["gpu"], condition=Q(released_at=None), name="gpu_allocated_once"
            ),
        ]

    def __str__(self) -> str:
        return f"gpu allocation {self.pk}"


class AgentSession(models.Model):
    """One open socket of an agent, and the interval in which we heard from it."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, models.CASCADE, related_name="sessions")
    epoch = models.BigIntegerField()
    key = models.ForeignKey(NodeKey, models.PROTECT, related_name="sessions")
    instance_id = models.CharField(max_length=200)
    boot_id = models.CharField(max_length=200)
    gateway = models.CharField(max_length=80)
    opened_at = models.DateTimeField()
    last_beat = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["node", "epoch"], name="agent_session_epoch_once"),
            models.UniqueConstraint(
                fields=["node"], condition=Q(closed_at=None), name="agent_session_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"session {self.epoch} of {self.node_id}"


class PortLeaseQuerySet(models.QuerySet["PortLease"]):
    def take_free(self, server: ProxyServer, count: int, now: object) -> list[PortLease]:
        """Lock up to `count` free ports, those free for longest first (longest quarantine); served by `port_free`."""
        locked = self.free_on(server, now).select_for_update(
            skip_locked=True, no_key=True, of=("self",)
        )
        return list(locked.order_by("free_at")[:count])

    def free_on(self, server: ProxyServer, now: object) -> Self:
        """Return the ports that may be leased now: rows of an earlier, wider range stay behind, unused."""
        inside = (server.first_port, server.last_port)
        return self.filter(server=server, workload=None, free_at__lte=now, port__range=inside)


class PortLease(models.Model):
    """One public port of a proxy server: a pre-filled pool, leased by UPDATE, never inserted or deleted.

    A port returns to the pool when `released_at` is set, frps shows no proxy on it, and the quarantine
    has passed since; then `free_at` says from when it may be leased again (null while leased).
    """

    id = models.BigAutoField(primary_key=True)
    server = models.ForeignKey(ProxyServer, models.CASCADE, related_name="ports")
    port = models.PositiveIntegerField()
    workload = models.ForeignKey(
        Workload, models.PROTECT, null=True, blank=True, related_name="ports"
    )
    container_port = models.PositiveIntegerField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    free_at = models.DateTimeField(null=True, blank=True)

    objects = PortLeaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "port"], name="port_once_per_server"),
            models.CheckConstraint(
                condition=Q(workload=None, container_port=None)
                | Q(workload__isnull=False, free_at=None),
                name="port_leased_or_free",
            ),
        ]
        indexes = [
            models.Index(
                fields=["server", "free_at"], name="port_free", condition=Q(workload=None)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.server_id}:{self.port}"
