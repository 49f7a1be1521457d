"""What renters and hosts are told of a rental. Called by the outbox's handlers, so nothing here is locked."""

from __future__ import annotations

import uuid

from accounts import services as accounts
from billing import services as billing
from core import clock, money
from nodes.models import Workload
from rentals import reasons
from rentals.machine import State
from rentals.models import PriceChange, Rental
from rentals.services.presenting import size_of, ssh_command

# Why a running rental stops, as its renter is told when it does; the others are told below.
_AT_STOP = {"end_reached": "end_reached", "cap_reached": "cap_reached"}
# What takes the disk with it, at whichever of its moves.
_AT_LOSS = {"disk_unpaid": "disk_deleted", "host_removed": "disk_lost"}
_OWN = frozenset({"stopped_by_renter", "ended_by_renter", "cancelled"})
# Not its renter's doing, and nothing has failed.
_ITSELF = frozenset(
    {"balance_used_up", "idle", "price_not_accepted", "stopped_by_staff", "ended_by_staff"}
)


def tell_of_move(
    *, rental_id: uuid.UUID, to: State, at: float, ran: bool, code: str, message: str
) -> None:
    """Tell of a rental's new state; `ran`: it had been usable before. `code` and `message` say why."""
    rental = _found(rental_id)
    if to is State.RUNNING:
        _tell_running(rental, at, again=ran)
    elif code in _AT_LOSS and ran:
        why = {"why": message, "advice": reasons.known(code).advice}
        tell_renter(rental, _AT_LOSS[code], str(rental_id), at=int(at), **why)
    elif to is State.STOPPING and code not in _OWN:
        _tell_stop(rental, at, ran, code, message)
    elif to is State.STOPPED and code == "stopped_by_renter":
        daily = rental.storage_rate * money.SECONDS_PER_DAY
        key = f"{rental_id}:{at}"
        tell_renter(rental, "rental_stopped", key, disk=rental.disk_gb, **_money(daily=daily))
    if to is State.ENDED:
        _tell_end(rental, at, ran, code)


def _money(**amounts: int) -> dict[str, str | int]:
    """Return amounts (nano-units) with the currency that rentals are paid in."""
    return {"currency": billing.currencies()[0], **amounts}


def _found(rental_id: uuid.UUID) -> Rental:
    return Rental.objects.select_related("node", "version").get(pk=rental_id)


def tell_renter(rental: Rental, code: str, key: str, **params: str | int) -> None:
    """Tell the renter of a rental something; `key` names what happened."""
    accounts.notify(
        user_id=rental.renter_id,
        code=code,
        key=key,
        subject_id=rental.pk,
        params={"node": rental.node.name, **params},
    )


def _tell_host(rental: Rental, code: str, key: str, **params: str | int) -> None:
    accounts.notify(
        user_id=rental.node.owner_id,
        code=code,
        key=key,
        subject_id=rental.node_id,
        params={"node": rental.node.name, **params},
    )


def _tell_running(rental: Rental, at: float, *, again: bool) -> None:
    hour = money.SECONDS_PER_HOUR
    price = _money(hourly=(rental.compute_rate + rental.storage_rate) * hour)
    tell_renter(
        rental,
        "rental_running",
        f"{rental.pk}:{at}",
        at=int(at),
        ssh=ssh_command(rental),
        **price,
    )
    if not again:
        size = size_of(rental)
        _tell_host(rental, "machine_rented", str(rental.pk), at=int(at), size=size, **price)


def _tell_stop(rental: Rental, at: float, ran: bool, code: str, message: str) -> None:
    reason = reasons.known(code)
    told = _AT_STOP.get(code)
    if told is None and not ran:
        told = "rental_not_started"
    elif told is None:
        told = "rental_stopped_itself" if code in _ITSELF else "rental_failed"
    why = message or reason.meaning
    tell_renter(
        rental, told, f"{rental.pk}:{at}", at=int(at), why=_sentence(why), advice=reason.advice
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "…")) else f"{text}."


def _tell_end(rental: Rental, at: float, ran: bool, code: str) -> None:
    bill = billing.bill_of(subject_id=rental.pk)
    if code in _OWN and ran:
        tell_renter(rental, "rental_ended", str(rental.pk), **_money(cost=bill.total))
    if ran:
        earned = sum(line.host_share for line in bill.lines)
        key = str(rental.pk)
        _tell_host(rental, "machine_rental_over", key, at=int(at), **_money(earned=earned))


def tell_of_contact(*, rental_id: uuid.UUID, lost: bool, at: int) -> None:
    """Tell that a rental's machine does not answer since `at` (epoch seconds), or does again."""
    code = "rental_unreachable" if lost else "rental_reachable"
    tell_renter(_found(rental_id), code, f"{rental_id}:{at}", at=at)


def tell_of_limit(
    *, rental_id: uuid.UUID, at: float, spent: int, cap: int, end: int, idle_since: int
) -> None:
    """Tell that a rental is near its end (epoch seconds), also by its idleness, or its cap (nano-units)."""
    rental, key = _found(rental_id), f"{rental_id}:{at}"
    if idle_since:
        tell_renter(rental, "idle_near", key, end=end, since=idle_since)
    elif end:
        tell_renter(rental, "end_near", key, end=end)
    else:
        tell_renter(rental, "cap_near", key, **_money(spent=spent, cap=cap))


def tell_of_steering(*, rental_id: uuid.UUID, action: str, who: str, at: float, keys: int) -> None:
    """Tell that somebody asked for a restart, a fresh container or other keys."""
    code = {"restart": "rental_restarted", "recreate": "rental_renewed", "keys": "keys_changed"}
    tell_renter(
        _found(rental_id), code[action], f"{rental_id}:{at}", who=who, at=int(at), keys=keys
    )


def _hourly(change: PriceChange) -> dict[str, str | int]:
    """Return both prices in the fields of the catalogue: nano-units an hour, work and disk together."""
    hour = money.SECONDS_PER_HOUR
    prices = _money(
        old=(change.old_compute_rate + change.old_storage_rate) * hour,
        new=(change.compute_rate + change.storage_rate) * hour,
    )
    return {**prices, "start": clock.to_epoch(change.starts_at)}


def _change(change_id: uuid.UUID) -> tuple[PriceChange, Rental]:
    found = PriceChange.objects.select_related("rental__node").get(pk=change_id)
    return found, found.rental


def tell_of_proposal(*, change_id: uuid.UUID) -> None:
    """Tell a renter of a higher price that waits for an answer."""
    change, rental = _change(change_id)
    code = "price_next_term" if change.at_term else "price_raise"
    tell_renter(rental, code, str(change_id), **_hourly(change))


def tell_of_answer(*, change_id: uuid.UUID, accepted: bool) -> None:
    """Tell a host how a renter has answered."""
    change, rental = _change(change_id)
    code = "raise_accepted" if accepted else "raise_refused"
    _tell_host(rental, code, str(change_id), **_hourly(change))


def tell_of_price(*, change_id: uuid.UUID) -> None:
    """Tell a renter that another price is in force."""
    change, rental = _change(change_id)
    tell_renter(rental, "price_changed", str(change_id), **_hourly(change))


def tell_of_reserve(
    *, owner_id: uuid.UUID, rental_ids: list[uuid.UUID], until: int, at: float
) -> None:
    """Tell that a wallet is used up, and of each disk until when it is kept."""
    names = []
    for rental in map(_found, rental_ids):
        names.append(rental.node.name)
        tell_renter(rental, "disk_on_reserve", f"{rental.pk}:{at}", until=until)
    disks = ", ".join(names)
    accounts.notify(
        user_id=owner_id,
        code="balance_used_up",
        key=str(at),
        params={"until": until, "disks": disks},
    )


def tell_of_drain(*, node_id: uuid.UUID, at: float) -> None:
    """Tell everybody who rents on a machine that its host takes it out of the market."""
    there = Rental.objects.filter(node_id=node_id).exclude(state=State.ENDED.value)
    for rental in there.select_related("node"):
        tell_renter(rental, "machine_draining", f"{rental.pk}:{at}", at=int(at))


def tell_of_logs(*, workload_id: uuid.UUID, until: int) -> None:
    """Tell a renter that the last words of a container will be deleted at `until` (epoch seconds)."""
    subject_id = Workload.objects.values_list("subject_id", flat=True).get(pk=workload_id)
    rental = Rental.objects.select_related("node").filter(pk=subject_id).first()
    if rental is not None:
        tell_renter(rental, "logs_expiring", f"{rental.pk}:{until}", until=until)
