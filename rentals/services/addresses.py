"""A stopped rental keeps its public address for a week; a later start gives it another."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock
from nodes import services as nodes
from nodes.models import Workload
from rentals.machine import State
from rentals.models import Rental
from rentals.services.moving import announce, lock_rental


def give_up_addresses(*, actor: Actor) -> int:
    """Give the ports of rentals back that have been stopped for `DC_STOPPED_PORT_DAYS`; return of how many."""
    until = clock.now() - dt.timedelta(days=settings.DC.stopped_port_days)
    stopped = Rental.objects.filter(
        state=State.STOPPED.value, phase_since__lte=until, address_given_up=None
    )
    return sum(_give_up(actor, pk) for pk in list(stopped.values_list("pk", flat=True)))


@transaction.atomic
def _give_up(actor: Actor, rental_id: uuid.UUID) -> bool:
    rental = lock_rental(rental_id)
    if State(rental.state) is not State.STOPPED or rental.address_given_up is not None:
        return False
    nodes.release_ports(workload=Workload.objects.get(pk=rental.workload_id))
    rental.address_given_up = clock.now()
    rental.save(update_fields=["address_given_up"])
    _record(actor, rental, "rental.address_given_up")
    return True


def take_address_again(actor: Actor, rental: Rental, workload: Workload) -> None:
    """Give a locked rental that starts, and whose workload is locked, a new address if it gave up its own.

    Raises Conflict `ports_exhausted`.
    """
    if rental.address_given_up is None:
        return
    container_ports = sorted(int(inner) for inner in rental.ports)
    leases = nodes.lease_ports(workload=workload, container_ports=container_ports)
    rental.ports = {str(inner): lease.port for inner, lease in leases.items()}
    rental.ssh_host = leases[container_ports[0]].server.public_host
    rental.address_given_up = None
    rental.save(update_fields=["ports", "ssh_host", "address_given_up"])
    workload.spec = {**workload.spec, "proxy_port_mapping": rental.ports}
    workload.save(update_fields=["spec"])
    _record(actor, rental, "rental.address_changed")


def _record(actor: Actor, rental: Rental, verb: str) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="rental",
        subject_id=rental.pk,
        data={"ports": rental.ports},
    )
    announce(rental)
