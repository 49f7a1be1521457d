"""Public ports: a pre-filled pool. A port comes back only when frps shows no proxy and quarantine is over."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import transaction

from core import clock
from core.errors import Conflict, Invalid
from nodes.models import PortLease, ProxyServer, Workload


@transaction.atomic
def register_proxy_server(
    *, name: str, public_host: str, server_host: str, server_port: int, first: int, last: int
) -> ProxyServer:
    """Make a proxy server known, with its pool of ports first..last; repeating it changes hosts and pool.

    Ports outside of a new range are leased no more; what has one keeps it until it gives it back.
    """
    if not 1 <= first <= last <= 65535:
        raise Invalid("port_range", "A port range lies between 1 and 65535.")
    server, _ = ProxyServer.objects.update_or_create(
        name=name,
        defaults={
            "public_host": public_host,
            "server_host": server_host,
            "server_port": server_port,
            "first_port": first,
            "last_port": last,
        },
    )
    known = set(PortLease.objects.filter(server=server).values_list("port", flat=True))
    now = clock.now()
    PortLease.objects.bulk_create(
        (
            PortLease(server=server, port=port, free_at=now)
            for port in range(first, last + 1)
            if port not in known
        ),
        batch_size=2000,
    )
    return server


def lease_ports(*, workload: Workload, container_ports: list[int]) -> dict[int, PortLease]:
    """Lease one public port for each container port; runs in the caller's transaction.

    Raises Conflict `ports_exhausted` when no server has enough free ports.
    """
    for server in ProxyServer.objects.order_by("pk"):
        leases = PortLease.objects.take_free(server, len(container_ports), clock.now())
        if len(leases) == len(container_ports):
            for lease, container_port in zip(leases, container_ports, strict=True):
                lease.workload = workload
                lease.container_port = container_port
                lease.free_at = lease.released_at = None
            PortLease.objects.bulk_update(
                leases, ["workload", "container_port", "free_at", "released_at"]
            )
            return {lease.container_port or 0: lease for lease in leases}
    raise Conflict("ports_exhausted", "No public port is free right now. Try again in a minute.")


def free_ports(*, up_to: int) -> int:
    """Return how many public ports one server could lease now, counted no further than `up_to`."""
    now, servers = clock.now(), ProxyServer.objects.all()
    return max((len(PortLease.objects.free_on(each, now)[:up_to]) for each in servers), default=0)


def release_ports(*, workload: Workload) -> None:
    """Start to give back a workload's ports: quarantine runs from now, the gate refuses them at once."""
    PortLease.objects.filter(workload=workload, released_at=None).update(released_at=clock.now())


@transaction.atomic
def reconcile_ports(*, server_name: str, proxied: set[int]) -> int:
    """Return ports to the pool whose quarantine is over and on which frps shows no proxy.

    `proxied` is what the server's own API shows now. A port that still has a proxy starts its
    quarantine again. Returns how many came back.
    """
    now = clock.now()
    waiting = PortLease.objects.filter(server__name=server_name, released_at__isnull=False)
    waiting.filter(port__in=proxied).update(released_at=now)
    over = now - dt.timedelta(seconds=settings.DC.port_quarantine_seconds)
    return (
        waiting.exclude(port__in=proxied)
        .filter(released_at__lte=over)
        .update(workload=None, container_port=None, released_at=None, free_at=now)
    )
