"""One word and one sentence for each state, the same on page, API and mail."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from billing import services as billing
from core import clock, currency, money
from nodes.machine import NodeStatus, Wish
from nodes.models import Workload
from rentals.machine import Action, PriceState, State, actions
from rentals.models import PriceChange, Rental
from rentals.services.moving import MISSES_UNTIL_UNREACHABLE
from rentals.services.planned import idle_until

CENT = money.NANO // 100


@dataclass(frozen=True)
class Description:
    """A state for people: `tone` is usable, waiting, failed or neutral."""

    label: str
    sentence: str
    tone: str
    pull_current: int | None = None
    pull_total: int | None = None


@dataclass(frozen=True)
class ActionOut:
    """Something the renter can do now, and what it does."""

    name: str
    label: str
    consequence: str
    destroys: bool

    @property
    def full(self) -> str:
        """Return the label with its consequence, for who cannot show both."""
        return f"{self.label}: {self.consequence[:1].lower()}{self.consequence[1:].rstrip('.')}"


@dataclass(frozen=True)
class Facts:
    """What is told of a rental and stands elsewhere: its container, its bill, its renter's money, its next price.

    `spent` in nano-units; `runs_out` in epoch seconds, None while the renter's money does not end.
    """

    observed: Mapping[str, Any]
    ending: bool
    spent: int
    runs_out: int | None
    pending: PriceChange | None

    @property
    def sent_bytes(self) -> int | None:
        """Return how many bytes have left the container, as its agent counts them in steps of 64 MB.

        None while its agent has not said anything yet.
        """
        return int(self.observed["sent_bytes"]) if "sent_bytes" in self.observed else None


def facts_of(rentals: Sequence[Rental]) -> dict[uuid.UUID, Facts]:
    """Return the facts of each rental, in as many queries for all of them as for one."""
    pks = [rental.pk for rental in rentals]
    workloads = Workload.objects.filter(pk__in=[rental.workload_id for rental in rentals])
    seen = {pk: more for pk, *more in workloads.values_list("pk", "observed", "wish")}
    totals = billing.totals_of(subject_ids=pks)
    ends = billing.ends_of(owner_ids={rental.renter_id for rental in rentals})
    waiting = PriceChange.objects.filter(rental__in=pks, closed_at=None)
    pending = {change.rental_id: change for change in waiting}
    return {
        rental.pk: Facts(
            seen[rental.workload_id][0],
            seen[rental.workload_id][1] == Wish.ABSENT.value,
            totals[rental.pk],
            ends[rental.renter_id],
            pending.get(rental.pk),
        )
        for rental in rentals
    }


def describe(rental: Rental, facts: Facts | None = None) -> Description:
    """Return the label and the sentence of a rental as it is now."""
    facts = facts or facts_of([rental])[rental.pk]
    state = State(rental.state)
    if state in {State.REQUESTED, State.RESERVED}:
        return Description(
            "Reserving",
            f"Holding {size_of(rental)} on {rental.node.name} for you. Your address is already fixed.",
            "waiting",
        )
    if state is State.PULLING:
        return _pulling(facts)
    if state is State.STARTING:
        waited = int((clock.now() - rental.phase_since).total_seconds())
        return Description(
            "Starting",
            f"Container is up; waiting for SSH to answer through your address ({waited} s).",
            "waiting",
        )
    if state is State.RUNNING:
        return _running(rental, facts)
    if state is State.STOPPING:
        return _stopping(rental)
    if state is State.STOPPED:
        return _stopped(rental, facts)
    return _ended(rental, facts)


def price_out(compute_rate: int, storage_rate: int) -> dict[str, str]:
    """Return rates as prices per hour in decimal strings, and their currency."""
    hour = money.SECONDS_PER_HOUR
    return {
        "hourly": money.decimal_string((compute_rate + storage_rate) * hour),
        "compute_hourly": money.decimal_string(compute_rate * hour),
        "storage_hourly": money.decimal_string(storage_rate * hour),
        "currency": settings.CURRENCY,
    }


def price_sentence(rental: Rental, change: PriceChange) -> str:
    """Return what another price means for the renter, and what silence does."""
    old = _an_hour(change.old_compute_rate + change.old_storage_rate)
    new = _an_hour(change.compute_rate + change.storage_rate)
    day = currency.priced(rental.storage_rate * money.SECONDS_PER_DAY)
    at, state = _when(change.starts_at), PriceState(change.state)
    over = change.starts_at <= clock.now()
    if state is PriceState.APPLIED:
        return f"It costs {new} an hour instead of {old} since {at}."
    if state is PriceState.LAPSED or (state is PriceState.REFUSED and not change.at_term):
        return f"{new} an hour instead of {old} was asked for; nothing came of it."
    if state is PriceState.ACCEPTED:
        return f"You accepted {new} an hour instead of {old}; it costs that from {at} on."
    if not change.at_term:
        return (
            f"Its host asks for {new} an hour instead of {old}, from the moment you accept it. "
            f"Without an answer by {at} nothing changes."
        )
    if over:
        return (
            f"Its price of {old} an hour was locked until {at} and is {new} now. "
            "Accept that to start it again; until then only its disk is kept and costs what it did."
        )
    said = "You refused that: it" if state is PriceState.REFUSED else "Without your answer it"
    return (
        f"From {at} on it costs {new} an hour instead of {old}, if you accept that. "
        f"{said} stops then and its disk is kept for {day} a day."
    )


def _an_hour(rate: int) -> str:
    return currency.priced(rate * money.SECONDS_PER_HOUR)


def size_of(rental: Rental) -> str:
    """Return how much of its machine a rental has, as a sentence says it."""
    return f"{rental.gpu_count} GPUs" if rental.gpu_count else "the whole machine"


def _pulling(facts: Facts) -> Description:
    pull = facts.observed.get("pull") or {}
    current, total = pull.get("current"), pull.get("total")
    if current is None:
        return Description(
            "Downloading image", "Asking the registry. You pay nothing yet.", "waiting"
        )
    done = f"{current / 1e9:.2f}" + (f" of {total / 1e9:.2f}" if total else "")
    return Description(
        "Downloading image", f"{done} GB so far. You pay nothing yet.", "waiting", current, total
    )


def _running(rental: Rental, facts: Facts) -> Description:
    if rental.unreachable_since is not None:
        silent = int((clock.now() - rental.unreachable_since).total_seconds())
        return Description(
            "Host not answering",
            f"Last heard {silent} s ago. The meter stopped at that moment. "
            "You can end it free of charge.",
            "failed",
        )
    hourly = (rental.compute_rate + rental.storage_rate) * money.SECONDS_PER_HOUR
    parts = [
        f"Usable since {_when(rental.running_since)}. {currency.priced(hourly)} an hour",
        f"{currency.priced(facts.spent)} so far" if facts.spent >= CENT else "under a cent so far",
    ]
    if facts.runs_out is not None:
        parts.append(f"{_span(facts.runs_out - clock.epoch())} left on your balance")
    warning = ""
    if rental.cap_warned_at is not None and rental.spend_cap is not None:
        cap = currency.priced(rental.spend_cap)
        warning = f" It stops at your cap of {cap}, which is near."
    if rental.silent_probes >= MISSES_UNTIL_UNREACHABLE:
        since = _when(rental.silent_since)
        warning += f" No SSH server answers in it since {since}: it stops soon, billed until then."
    if (until := idle_until(rental)) is not None:
        warning += f" Idle since {_when(rental.idle_since)}; stops {_when(until)} unless it works."
    return Description("Running", ", ".join(parts) + "." + warning, "usable")


def _stopping(rental: Rental) -> Description:
    if rental.node.status == NodeStatus.OFFLINE.value:
        return Description(
            "Stopping", "The machine does not answer; nothing is billed meanwhile.", "waiting"
        )
    return Description("Stopping", "Letting your processes finish, up to 10 s.", "waiting")


def _stopped(rental: Rental, facts: Facts) -> Description:
    why = "" if _by_renter(rental) else f"{(rental.end or {}).get('message', '')} "
    label, tone, kept = "Stopped, disk kept", "neutral", ""
    if rental.fresh:
        # What was there is deleted, and what was to take its place has never been usable.
        label, tone = "Could not recreate", "failed"
        kept = "Its fresh container did not come up: a start makes it, and nothing is on its disk. "
    if rental.unreachable_since is not None:
        return Description(
            label,
            f"{why}{kept}Its machine does not answer since {_when(rental.unreachable_since)}; "
            "the disk costs nothing meanwhile.",
            "failed" if tone == "failed" else "waiting",
        )
    day = currency.priced(rental.storage_rate * money.SECONDS_PER_DAY)
    price = f"{why}{kept}{rental.disk_gb} GB for {day} a day."
    if rental.storage_hold_id is None and facts.runs_out is not None:
        until = _when(clock.from_epoch(facts.runs_out))
        return Description(
            label,
            f"{price} Disk kept until {until}; add money before that to keep it longer.",
            "failed",
        )
    address = "" if rental.address_given_up is None else " A start gives it a new address."
    return Description(
        label, f"{price} The machine may be taken by someone else meanwhile.{address}", tone
    )


def _by_renter(rental: Rental) -> bool:
    return (rental.end or {}).get("code") in {None, "stopped_by_renter"}


def _ended(rental: Rental, facts: Facts) -> Description:
    end = rental.end or {}
    code = end.get("code")
    if rental.running_since is None and code not in {"cancelled", "ended_by_staff"}:
        return Description(
            "Could not start", f"{end.get('message', '')} Nothing was charged.", "failed"
        )
    label = {
        "host": "Ended: host failed",
        "platform": "Ended: platform failed",
    }.get(str(end.get("party")), "Ended")
    if code in {"balance_used_up", "disk_unpaid"}:
        label = "Ended: balance used up"
    if code == "ended_by_staff":
        label = "Ended by staff"
    final = currency.priced(facts.spent)
    sentence = f"{end.get('message', '')} Ended {_when(rental.ended_at)}. Final bill {final}."
    return Description(label, sentence.strip(), "neutral" if label == "Ended" else "failed")


def _when(instant: dt.datetime | None) -> str:
    """Return an instant as sentences say it; pages show the same instant in the reader's zone beside it."""
    return instant.astimezone(dt.UTC).strftime("%-d %b, %H:%M UTC") if instant else ""


def _span(seconds: int) -> str:
    """Return a length of time in its largest fitting unit."""
    for unit, length in (("days", money.SECONDS_PER_DAY), ("h", money.SECONDS_PER_HOUR)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(0, seconds) // 60} min"


def rental_actions(rental: Rental, facts: Facts | None = None) -> list[ActionOut]:
    """Return what the renter can do now, with the consequence of each."""
    facts = facts or facts_of([rental])[rental.pk]
    day = currency.priced(rental.storage_rate * money.SECONDS_PER_DAY)
    hour = currency.priced(rental.compute_rate * money.SECONDS_PER_HOUR)
    never_ran = rental.running_since is None
    known = {
        Action.RESTART: ActionOut(
            "restart",
            "Restart",
            f"Same container, data kept; billed through at {hour} an hour if it answers again.",
            destroys=False,
        ),
        Action.RECREATE: ActionOut(
            "recreate",
            "Recreate",
            f"A fresh container from the image; everything on its {rental.disk_gb} GB is deleted.",
            destroys=True,
        ),
        Action.STOP: ActionOut(
            "stop",
            "Stop",
            f"Keeps your {rental.disk_gb} GB for {day} a day; the machine may be taken.",
            destroys=False,
        ),
        Action.START: ActionOut("start", "Start", f"{hour} an hour from then on.", destroys=False),
        Action.END: ActionOut(
            "end",
            "Cancel" if never_ran else "End",
            "Costs nothing." if never_ran else "Deletes the disk and stops every charge.",
            destroys=not never_ran,
        ),
    }
    return [known[action] for action in actions(State(rental.state), ending=facts.ending)]


def ssh_command(rental: Rental) -> str:
    """Return the one line that logs in."""
    return f"ssh -p {ssh_port(rental)} {rental.version.spec.ssh_user}@{rental.ssh_host}"


def ssh_port(rental: Rental) -> int:
    """Return the public port of the rental's SSH."""
    return int(rental.ports[str(rental.version.spec.ssh_port)])
