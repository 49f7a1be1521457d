"""The platform's own tunnel servers, and when they did not work."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q

from core.ids import new_id


class ProxyServerQuerySet(models.QuerySet["ProxyServer"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class ProxyServer(models.Model):
    """One frps machine with its range of public ports."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=40, unique=True)
    public_host = models.CharField(max_length=200)
    server_host = models.CharField(max_length=200)
    server_port = models.PositiveIntegerField()
    first_port = models.PositiveIntegerField()
    last_port = models.PositiveIntegerField()
    # When it last answered a look of ours.
    last_good = models.DateTimeField(null=True, blank=True)

    objects = ProxyServerQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class TunnelOutageQuerySet(models.QuerySet["TunnelOutage"]):
    def lock(self) -> Self:
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class TunnelOutage(models.Model):
    """A tunnel server did not answer in [since, until): the evidence, and whether it is dealt with."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    server = models.ForeignKey(ProxyServer, models.PROTECT, related_name="outages")
    # The last look that was answered, when we looked all the time; else the first that was not.
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    looks = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True, default="")
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = TunnelOutageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server"], condition=Q(until=None), name="tunnel_outage_open_once"
            ),
            models.CheckConstraint(
                condition=Q(until=None) | Q(until__gte=F("since")), name="tunnel_outage_forward"
            ),
            models.CheckConstraint(
                condition=Q(settled_at=None) | Q(until__isnull=False),
                name="tunnel_outage_settled_when_over",
            ),
        ]

    def __str__(self) -> str:
        return f"outage of {self.server_id} since {self.since}"
