"""Pre-flight: everything that can be known before money moves, and how long the start will take.

Asking the registry is the business of `rentals.preflight`, between `plan_*` and `record_preflight`: no transaction
is open meanwhile.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db import transaction

from accounts.actors import Actor
from core import clock, currency, money
from core.errors import Conflict, Invalid, NotFound
from nodes import services as nodes
from nodes.models import Node, Offer
from rentals.launch import MAX_IMAGE, Launch
from rentals.models import Preflight, Quote, Start
from rentals.registry import read_reference
from rentals.services.preflight import checks, cuda
from rentals.services.preflight.checks import FAIL, Asked, Check
from rentals.services.preflight.prediction import missing_bytes, predict
from rentals.services.templating import version_of

__all__ = [
    "Asked",
    "Plan",
    "cleared_preflight",
    "forget_preflights",
    "newest_preflight",
    "pinned_image",
    "plan_preflight",
    "plan_preflight_of_quote",
    "record_preflight",
]

FRESH_SECONDS = 600
KEPT_SECONDS = 86_400
STARTS_LOOKED_AT = 20
USUAL_DISK_GB = 10


@dataclass(frozen=True)
class Plan:
    """What a pre-flight looks at. `quoted` is a whole rate in nano-units a second, None without a quote."""

    offer_id: uuid.UUID
    image: str
    architecture: str
    ports: tuple[int, ...]
    gpus: int
    disk_gb: int
    quoted: int | None
    # The name of the renter's secret that logs in to the registry; empty: nobody logs in.
    login: str = ""


def plan_preflight(
    *,
    actor: Actor,
    offer_id: uuid.UUID,
    template_id: uuid.UUID | None = None,
    template_version: int | None = None,
    image: str = "",
    gpu_count: int | None = None,
    disk_gb: int | None = None,
) -> Plan:
    """Plan a pre-flight of a template, or of an image alone, on an offer; sizes default as a quote's do.

    Raises NotFound `offer_unknown`, `template_unknown`, `template_version_unknown`; Invalid
    `preflight_of_what`, `gpu_count`.
    """
    actor.require("rental:create")
    if (template_id is None) == (not image) or len(image) > MAX_IMAGE:
        raise Invalid("preflight_of_what", "Name a template or an image, one of the two.")
    offer = Offer.objects.filter(pk=offer_id, listed=True).first()
    if offer is None:
        raise NotFound("offer_unknown", "This offer is not listed now. Search again.")
    gpus = offer.gpu_free if gpu_count is None else gpu_count
    if (gpus > 0) is not (offer.gpu_total > 0):
        raise Invalid("gpu_count", f"This machine has {offer.gpu_free} free GPUs now.")
    launch = Launch(image=image, disk_gb=USUAL_DISK_GB)
    ports: tuple[int, ...] = ()
    if template_id is not None:
        version = version_of(actor=actor, template_id=template_id, number=template_version)
        launch, ports = version.spec, _ports(version.spec)
    disk = launch.disk_gb if disk_gb is None else disk_gb
    return _plan(offer, launch, ports, gpus, disk, None)


def plan_preflight_of_quote(*, actor: Actor, quote_id: uuid.UUID) -> Plan:
    """Plan the pre-flight of exactly what a quote names; raises NotFound `quote_unknown`."""
    actor.require("rental:create")
    found = Quote.objects.select_related("offer", "version")
    quote = found.filter(pk=quote_id, user_id=actor.user_id).first()
    if quote is None:
        raise NotFound("quote_unknown", "You have no such quote. Ask for the price again.")
    launch = quote.version.spec
    rate = quote.compute_rate + quote.storage_rate
    return _plan(quote.offer, launch, _ports(launch), quote.gpu_count, quote.disk_gb, rate)


def _ports(launch: Launch) -> tuple[int, ...]:
    return tuple(sorted({launch.ssh_port, *(port.port for port in launch.ports)}))


def _plan(
    offer: Offer,
    launch: Launch,
    ports: tuple[int, ...],
    gpus: int,
    disk_gb: int,
    quoted: int | None,
) -> Plan:
    login = launch.registry_login or ""
    return Plan(offer.pk, launch.image, offer.architecture, ports, gpus, disk_gb, quoted, login)


@transaction.atomic
def record_preflight(*, actor: Actor, plan: Plan, asked: Asked) -> Preflight:
    """Judge what the registry said beside what the machine has now, and keep it as this person's newest."""
    offer = Offer.objects.select_related("node").filter(pk=plan.offer_id).first()
    if offer is None:
        raise NotFound("offer_unknown", "This offer is gone. Search again.")
    found = asked.found
    image = found.image if found else None
    fetching = nodes.fetching(node_id=offer.node_id, chains=image.chains if image else [])
    sizes = [layer.size for layer in image.layers] if image else None
    told = _checks(plan, offer, asked, missing_bytes(sizes, fetching))
    prediction = predict(sizes, fetching, _starts(offer.node))
    flight, _ = Preflight.objects.update_or_create(
        user_id=actor.user_id,
        offer=offer,
        image=plan.image,
        gpu_count=plan.gpus,
        disk_gb=plan.disk_gb,
        defaults={
            "verdict": checks.verdict(told),
            "checks": [check.told() for check in told],
            "digest": found.digest if found else "",
            "prediction": prediction.told(),
            "created_at": clock.now(),
        },
    )
    return flight


def _checks(plan: Plan, offer: Offer, asked: Asked, missing: int | None) -> list[Check]:
    compute = money.compute_rate(offer.compute_rate, plan.gpus, offer.minimum_rate)
    rate = compute + offer.storage_gb_rate * plan.disk_gb
    image = asked.found.image if asked.found else None
    named = bool(asked.found and asked.found.logged_in)
    return [
        checks.of_offer(offer.listed, offer.gpu_free, plan.gpus),
        checks.of_price(plan.quoted, rate, currency.priced(rate * money.SECONDS_PER_HOUR)),
        checks.of_disk(plan.disk_gb, offer.disk_gb),
        checks.of_ports(plan.ports, nodes.free_ports(up_to=len(plan.ports))),
        checks.of_manifest(asked, plan.image),
        checks.of_login(asked, named),
        checks.of_architecture(asked, offer.architecture),
        checks.of_cuda(image, _driver(offer), plan.gpus),
        checks.of_size(image, missing, plan.disk_gb, _host_disk(offer.node)),
    ]


def _driver(offer: Offer) -> cuda.Driver:
    number = offer.driver
    return cuda.Driver(
        _hundreds(offer.cuda),
        None if number is None else (number // 1_000_000, number // 1000 % 1000, number % 1000),
        _hundreds(offer.compute_capability),
    )


def _hundreds(value: int | None) -> cuda.Version | None:
    return None if value is None else (value // 100, value % 100 // 10, 0)


def _host_disk(node: Node) -> int:
    """Return the GB that were free on the machine at its last hello."""
    return int(node.facts.get("disk_free_gb", 0))


def _starts(node: Node) -> list[float]:
    """Return the seconds of a machine's newest first starts, downloads excepted."""
    done = Start.objects.filter(rental__node=node, ready_ms__isnull=False)
    newest = done.order_by("-rental__created_at")[:STARTS_LOOKED_AT]
    return [
        (reserved + starting) / 1000
        for reserved, starting in newest.values_list("reserved_ms", "starting_ms")
    ]


def newest_preflight(quote: Quote) -> Preflight | None:
    """Return the newest pre-flight of exactly what a quote names, unless it is older than FRESH_SECONDS."""
    return Preflight.objects.filter(
        user_id=quote.user_id,
        offer_id=quote.offer_id,
        image=quote.version.spec.image,
        gpu_count=quote.gpu_count,
        disk_gb=quote.disk_gb,
        created_at__gt=clock.now() - dt.timedelta(seconds=FRESH_SECONDS),
    ).first()


def cleared_preflight(quote: Quote) -> Preflight | None:
    """Return what `newest_preflight` does; raises Conflict `preflight_failed` when it says that this cannot start."""
    flight = newest_preflight(quote)
    if flight is None or flight.verdict != FAIL:
        return flight
    failed = next(check for check in flight.checks if check["result"] == FAIL)
    raise Conflict(
        "preflight_failed",
        f"{failed['sentence']} Nothing was charged; run the pre-flight again when it is mended.",
        check=failed["code"],
    )


def pinned_image(image: str, flight: Preflight | None) -> str:
    """Return the name of exactly the content that a pre-flight saw; without one, the name as it is."""
    if flight is None or not flight.digest:
        return image
    reference = read_reference(image)
    return image if reference.digest else reference.pinned(flight.digest)


def forget_preflights() -> int:
    """Delete pre-flights that are older than a day; return how many."""
    edge = clock.now() - dt.timedelta(seconds=KEPT_SECONDS)
    return Preflight.objects.filter(created_at__lt=edge).delete()[0]
