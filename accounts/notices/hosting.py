"""What hosts are told of their machines. Pure."""

from __future__ import annotations

from accounts.notices.entry import PAGE, Entry

_PAGE = frozenset({PAGE})
FLAPPING = 600

ENTRIES = (
    Entry(
        "machine_online",
        "host",
        "usable",
        "A new machine has connected for the first time.",
        "{node} is online",
        "It connected for the first time at {at:when}. Set its prices before somebody rents it.",
        "machine",
        subject=True,
    ),
    Entry(
        "machine_offline",
        "host",
        "failed",
        "A machine has not been heard of for so long that it counts as lost.",
        "{node} is offline",
        "Last heard at {at:when}. Nothing on it is billed from that moment, and it is not listed. Look at its power, "
        "its network and what `hostagent doctor` says.",
        "machine",
        subject=True,
        quiet=FLAPPING,
    ),
    Entry(
        "machine_back",
        "host",
        "usable",
        "A machine that was lost is back.",
        "{node} is back",
        "It was away from {since:when} to {at:when}.",
        "machine",
        subject=True,
        quiet=FLAPPING,
    ),
    Entry(
        "machine_check_failed",
        "host",
        "failed",
        "A machine fails a check of its self-test and is not listed any more.",
        "{node} failed a check",
        "It is not listed until it passes: {checks} The agent tests again when it connects.",
        "machine",
        subject=True,
    ),
    Entry(
        "machine_disk_low",
        "host",
        "failed",
        "A machine has no disk left for a new rental and is not listed any more.",
        "{node} has no disk left",
        "It is not listed until there is room for a new rental. Free some; the agent measures it when it connects.",
        "machine",
        subject=True,
    ),
    Entry(
        "machine_listed",
        "host",
        "usable",
        "A machine is listed again after something that needed mending.",
        "{node} is listed again",
        "It can be rented since {at:when}.",
        "machine",
        subject=True,
    ),
    Entry(
        "machine_cloned",
        "host",
        "failed",
        "Two machines use one identity, and both are put aside.",
        "Two machines say that they are {node}",
        "Both are put aside since {at:when}, and nothing new starts on them. Make a node key for each and join "
        "again.",
        "machine",
        subject=True,
        fixed=_PAGE,
    ),
    Entry(
        "machine_rented",
        "host",
        "usable",
        "Somebody has begun to use one of your machines.",
        "{node} is rented",
        "Since {at:when}, {size} for {hourly:money} an hour before the fee.",
        "machine",
        subject=True,
        on=_PAGE,
    ),
    Entry(
        "machine_rental_over",
        "host",
        "information",
        "A rental on one of your machines is over.",
        "A rental on {node} is over",
        "It ended at {at:when} and earned {earned:money} for you.",
        "machine",
        subject=True,
        on=_PAGE,
    ),
)
