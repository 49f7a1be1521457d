"""Which faults are credited, and what of: the rules behind credits that post themselves. Pure.

`docs/credits.md` is made from it. What is down is not billed at all; a credit is for the work that is lost with it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

HOUR = 3600
# A shorter outage of the platform's own tunnel server is not credited.
TUNNELS_MAY_BE_DOWN = dt.timedelta(seconds=30)
TUNNELS = "tunnels_down"
# For so long a credit waits for what becomes of a restart during the outage: whether it is billed through.
TUNNELS_DECIDED_WITHIN = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        fault: a stable code, part of every incident.
        codes: the reasons of an end that call for it; none: any end while the machine is lost.
        when: what has to have happened.
        seconds: how long before it everything that was paid is given back.
        kinds: of which meters.
        needs: what has to have been there to be lost: the work of a running rental, or its disk.
    """

    fault: str
    codes: tuple[str, ...]
    when: str
    seconds: int
    kinds: tuple[str, ...]
    needs: str = ""


RULES = (
    Rule(
        "disk_lost",
        ("host_removed",),
        "The container and its disk vanished from the machine while the rental was running or stopped.",
        24 * HOUR,
        ("compute", "storage"),
        "disk",
    ),
    Rule(
        "host_failed",
        ("container_start_failed", "networks_exhausted", "hardware_failed"),
        "The machine could not keep a running rental running.",
        HOUR,
        ("compute",),
        "work",
    ),
    Rule(
        "host_lost",
        (),
        "The machine was silent for longer than the offline limit, and the rental was ended before it came back.",
        HOUR,
        ("compute",),
    ),
)


def rule_of(
    *, code: str, has_run: bool, machine_lost: bool, works: bool = True, has_disk: bool = True
) -> Rule | None:
    """Return the rule for a rental that goes down, None when nothing is credited.

    Args:
        code: why it goes down, from the catalogue of reasons.
        has_run: whether it was ever usable; what never ran was never billed.
        machine_lost: whether its machine is silent for longer than the offline limit.
        works: whether it was running. What its renter starts, and may have broken before, loses no work.
        has_disk: whether its disk has been there; not while its renter's fresh container is on its way.
    """
    if not has_run:
        return None
    lacks = {"work": not works, "disk": not has_disk}
    # Whoever ends what cannot be reached has lost the work, whatever the reason says.
    fits = (rule for rule in RULES if code in rule.codes or (machine_lost and not rule.codes))
    return next((rule for rule in fits if not lacks.get(rule.needs)), None)


def tunnels_incident(outage_id: uuid.UUID) -> str:
    """Return what one outage of the platform's own tunnel server is called in its credits."""
    return f"{TUNNELS}:{outage_id}"


def to_markdown() -> str:
    """Return the rules as a table."""
    lines = ["| fault | reasons | when | what is given back |", "|---|---|---|---|"]
    for rule in RULES:
        what = " and ".join(rule.kinds)
        codes = ", ".join(f"`{code}`" for code in rule.codes) or "any"
        hours = rule.seconds // HOUR
        lines.append(
            f"| `{rule.fault}` | {codes} | {rule.when} | what was paid for {what} in the last {hours} h before |"
        )
    lines.append(
        f"| `{TUNNELS}` | – | The platform's own tunnel server did not answer for more than "
        f"{int(TUNNELS_MAY_BE_DOWN.total_seconds())} s. | what was paid for compute and storage while it was down, "
        "by the platform: the host keeps its share. At most the price when it began, and "
        "`DC_TUNNEL_CREDIT_MOST_HOURLY` for each GPU and for the disk |"
    )
    return "\n".join(lines)
