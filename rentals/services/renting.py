"""From a price to a rental: one transaction holds money, machine and ports, or nothing at all."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from billing import services as billing
from core import clock, idempotency, money
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from nodes import services as nodes
from nodes.models import Allocation, Node, Offer
from nodes.services.capacity import lock_rentable
from rentals.launch import Launch
from rentals.machine import State
from rentals.models import Preflight, Quote, Rental
from rentals.services.brake import require_starts_left
from rentals.services.fitting import require_disk, require_hardware
from rentals.services.keys import chosen_keys
from rentals.services.launching import (
    Changes,
    changed,
    is_strangers,
    require_consent,
    require_outside,
    take_secrets,
)
from rentals.services.meters import hold_compute, hold_storage
from rentals.services.moving import announce
from rentals.services.preflight import cleared_preflight, pinned_image
from rentals.services.starts import open_start
from rentals.services.templating import version_of
from rentals.services.terms import locked_until, require_end

PIDS_PER_CORE = 1024


@transaction.atomic
def quote_offer(
    *,
    actor: Actor,
    offer_id: uuid.UUID,
    template_id: uuid.UUID,
    template_version: int | None = None,
    gpu_count: int | None = None,
    disk_gb: int | None = None,
) -> Quote:
    """Name the price of an offer for this size, honoured for `DC_QUOTE_SECONDS`.

    `template_version` defaults to the newest, `gpu_count` to all free cards, `disk_gb` (GB) to the
    template's own. Raises NotFound `offer_unknown`, `template_unknown`, `template_version_unknown`;
    Conflict `template_archived`; Invalid `gpu_count`, `disk_gb`, `hardware_too_small`, `template_image_host`.
    """
    actor.require("rental:create")
    offer = Offer.objects.filter(pk=offer_id, listed=True).first()
    if offer is None:
        raise NotFound("offer_unknown", "This offer is not listed now. Search again.")
    version = version_of(actor=actor, template_id=template_id, number=template_version)
    if version.template.archived_at is not None:
        raise Conflict("template_archived", "This template has been put away. Choose another.")
    if version.template.owner_id is not None:
        # One that is older than the settings' list of registries.
        require_outside(version.spec.image)
    gpus = offer.gpu_free if gpu_count is None else gpu_count
    if not (1 <= gpus <= offer.gpu_free if offer.gpu_total else gpus == 0):
        raise Invalid("gpu_count", f"This machine has {offer.gpu_free} free GPUs now.")
    disk = version.spec.disk_gb if disk_gb is None else disk_gb
    require_disk(offer, disk, version.spec)
    require_hardware(offer, gpus, version.spec.minimum)
    now = clock.now()
    return Quote.objects.create(
        user_id=actor.user_id,
        offer=offer,
        version=version,
        gpu_count=gpus,
        disk_gb=disk,
        compute_rate=money.compute_rate(offer.compute_rate, gpus, offer.minimum_rate),
        storage_rate=offer.storage_gb_rate * disk,
        created_at=now,
        expires_at=now + dt.timedelta(seconds=settings.DC.quote_seconds),
    )


@transaction.atomic(durable=True)
def request_rental(
    *,
    actor: Actor,
    quote_id: uuid.UUID,
    ssh_key_ids: list[uuid.UUID] | None,
    idempotency_key: str,
    changes: Changes | None = None,
    ends_at: dt.datetime | None = None,
) -> Rental:
    """Rent what a quote names: money held, machine and ports reserved, address known; or nothing.

    `changes` to the template's launch are for this rental only. A repeated request with the same key
    returns the same rental. Raises NotFound `quote_unknown`, Conflict `quote_expired`, `quote_used`,
    `offer_taken`, `preflight_failed`, FundsInsufficient, Invalid `ssh_key_needed`, and as `changed` and
    `take_secrets` and `require_consent` do. The image is the very one that a fresh pre-flight saw, if any.
    `ends_at` (Invalid `ends_at_range`) is when it stops by itself; a far one locks the price for longer.
    """
    actor.require("rental:create")
    rental_id = new_id()
    changes = changes or Changes()
    asked = [str(quote_id), sorted(map(str, ssh_key_ids or [])), str(ends_at or "")]
    body = json.dumps([*asked, *changes.told()])
    first = idempotency.claim(
        owner_id=actor.user_id, key=idempotency_key, body=body, subject_id=rental_id
    )
    if first != rental_id:
        return Rental.objects.get(pk=first)
    require_end(ends_at)
    require_starts_left(actor.user_id)
    quote = _valid_quote(actor, quote_id)
    launch = changed(quote.version.spec, changes)
    if is_strangers(quote):
        require_consent(launch, changes)
    keys, taken = chosen_keys(actor, ssh_key_ids), take_secrets(actor, launch)
    flight = cleared_preflight(quote)
    rental = _rent(actor, quote, rental_id, keys, flight, launch, taken)
    open_start(rental, flight)
    if ends_at is not None:
        far = locked_until(rental.created_at, ends_at)
        rental.ends_at, rental.price_by_end = ends_at, far > rental.price_until
        rental.price_until = far
        rental.save(update_fields=["ends_at", "price_until", "price_by_end"])
    return rental


def _rent(
    actor: Actor,
    quote: Quote,
    rental_id: uuid.UUID,
    keys: list[str],
    flight: Preflight | None,
    launch: Launch,
    taken: dict[str, Any],
) -> Rental:
    """Take machine and ports for a rental and hold its money, all or nothing."""
    node = lock_rentable(quote.offer.node_id)
    workload_id = new_id()
    workload = nodes.create_workload(
        actor=actor,
        node=node,
        subject_id=rental_id,
        spec={},
        env=launch.env,
        workload_id=workload_id,
    )
    allocation = nodes.allocate(
        node=node, workload=workload, gpu_count=quote.gpu_count, disk_gb=quote.disk_gb
    )
    container_ports = sorted({launch.ssh_port, *(port.port for port in launch.ports)})
    leases = nodes.lease_ports(workload=workload, container_ports=container_ports)
    ports = {str(inner): lease.port for inner, lease in leases.items()}
    workload.spec = {**_spec(quote, launch, rental_id, keys, allocation, ports), **taken}
    workload.spec["image"] = pinned_image(workload.spec["image"], flight)
    workload.save(update_fields=["spec"])
    host = leases[launch.ssh_port].server.public_host
    return _create_rental(actor, quote, rental_id, node, workload_id, keys, ports, host)


def _valid_quote(actor: Actor, quote_id: uuid.UUID) -> Quote:
    quote = (
        Quote.objects.lock()
        .select_related("offer", "version__template")
        .filter(pk=quote_id, user_id=actor.user_id)
        .first()
    )
    if quote is None:
        raise NotFound("quote_unknown", "You have no such quote. Ask for the price again.")
    if quote.expires_at <= clock.now():
        raise Conflict(
            "quote_expired",
            f"A price holds for {settings.DC.quote_seconds} s and this one is older. "
            "Ask for it again; nothing was charged.",
        )
    if Rental.objects.filter(quote=quote).exists():
        raise Conflict("quote_used", "This quote has been rented already. Ask for a new one.")
    return quote


def _spec(
    quote: Quote,
    launch: Launch,
    rental_id: uuid.UUID,
    keys: list[str],
    allocation: Allocation,
    ports: dict[str, int],
) -> dict[str, Any]:
    gpus = [row.gpu for row in allocation.gpus.select_related("gpu").order_by("gpu__index")]
    memory = allocation.memory_mib
    return {
        "image": launch.image,
        "hostname": f"r-{str(rental_id)[:8]}",
        "entrypoint": launch.entrypoint,
        "command": launch.command,
        "start_script": launch.start_script,
        "ssh_keys": keys,
        "ssh_port": launch.ssh_port,
        "resource_limits": {
            "gpu_uuids": [gpu.uuid for gpu in gpus],
            "gpu_indices": [str(gpu.index) for gpu in gpus],
            "cpu_cores": allocation.cpu_cores,
            "memory_mib": memory,
            "ram_limit": f"{memory}m",
            "disk_gb": quote.disk_gb,
            "shm_mib": min(memory // 2, 65_536),
            "pids": max(4096, PIDS_PER_CORE * allocation.cpu_cores),
        },
        "proxy_port_mapping": ports,
    }


def _create_rental(
    actor: Actor,
    quote: Quote,
    rental_id: uuid.UUID,
    node: Node,
    workload_id: uuid.UUID,
    keys: list[str],
    ports: dict[str, int],
    host: str,
) -> Rental:
    now = clock.now()
    rental = Rental.objects.create(
        id=rental_id,
        renter_id=actor.user_id,
        node=node,
        version=quote.version,
        quote=quote,
        workload_id=workload_id,
        state=State.RESERVED.value,
        phase_since=now,
        gpu_count=quote.gpu_count,
        disk_gb=quote.disk_gb,
        compute_rate=quote.compute_rate,
        storage_rate=quote.storage_rate,
        price_since=now,
        price_until=locked_until(now),
        fee_bps=billing.fee_at(clock.epoch()),
        ssh_keys=keys,
        ssh_host=host,
        ports=ports,
        created_at=now,
    )
    hold_storage(actor, rental)
    hold_compute(actor, rental)
    _record_reserved(actor, rental)
    announce(rental)
    return rental


def _record_reserved(actor: Actor, rental: Rental) -> None:
    audit.record(
        actor=actor,
        verb="rental.reserved",
        subject_type="rental",
        subject_id=rental.pk,
        data={
            "node": str(rental.node_id),
            "compute_rate": rental.compute_rate,
            "storage_rate": rental.storage_rate,
            "ports": rental.ports,
        },
    )
