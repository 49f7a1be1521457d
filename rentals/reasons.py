"""Why a rental stopped, ended or never ran: the catalogue behind every `{party, code, message, fault, refund}`. Pure.

`docs/reasons.md` is made from it. A code is for programs and never changes its meaning; the message is
for people and may.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTIES = ("renter", "host", "platform")
# What an agent tells that is not in the catalogue: its words are kept, its code is this one.
UNKNOWN = "start_failed"


@dataclass(frozen=True)
class Reason:
    """One code.

    Args:
        party: whose doing it was: renter, host or platform.
        disk: what becomes of the disk: kept, deleted, or "kept if it has run".
        meaning: what happened.
        advice: what the renter can do now.
    """

    code: str
    party: str
    disk: str
    meaning: str
    advice: str

    @property
    def fault(self) -> str:
        """Who answers for it; nobody for what renters do with their own rentals."""
        return "none" if self.party == "renter" else self.party


_KEPT, _GONE, _IF_RAN = "kept", "deleted", "kept if it has run"
_OF_IMAGE = "Look at the container's last words, mend the image or its command, and rent again."

_REASONS = (
    Reason("cancelled", "renter", _GONE, "Cancelled before it was usable.", "Nothing was charged."),
    Reason("stopped_by_renter", "renter", _KEPT, "Stopped by its renter.", "Start it again."),
    Reason("ended_by_renter", "renter", _GONE, "Ended by its renter.", "Rent again."),
    Reason(
        "stopped_by_staff",
        "platform",
        _KEPT,
        "Stopped by the platform's staff.",
        "Write to us to know why; start it again when that is settled.",
    ),
    Reason(
        "ended_by_staff",
        "platform",
        _GONE,
        "Ended by the platform's staff.",
        "Write to us to know why.",
    ),
    Reason(
        "end_reached",
        "renter",
        _KEPT,
        "It reached the end date that its renter set.",
        "Extend or remove the end date, then start it.",
    ),
    Reason(
        "cap_reached",
        "renter",
        _KEPT,
        "It reached the spend cap that its renter set.",
        "Raise or remove the cap, then start it.",
    ),
    Reason(
        "idle",
        "renter",
        _KEPT,
        "GPU and CPU did next to nothing for as long as its renter allowed.",
        "Start it again; switch the stop on idleness off if it should wait.",
    ),
    Reason(
        "price_not_accepted",
        "renter",
        _KEPT,
        "The price lock ended and the host's new price was not accepted.",
        "Accept the new price, then start it, or end it.",
    ),
    Reason(
        "balance_used_up",
        "renter",
        _KEPT,
        "The balance was used up.",
        "Add money before the reserve of the disk is used up, too; its date is shown.",
    ),
    Reason(
        "disk_unpaid",
        "renter",
        _GONE,
        "The balance and then the disk's reserve of 48 hours were used up.",
        "Add money and rent again.",
    ),
    Reason(
        "image_missing",
        "renter",
        _IF_RAN,
        "The registry has no such image.",
        "Check its name and tag.",
    ),
    Reason(
        "image_pull_failed",
        "renter",
        _IF_RAN,
        "The image could not be downloaded.",
        "Check that the registry answers and lets the machine in.",
    ),
    Reason(
        "image_login_refused",
        "renter",
        _IF_RAN,
        "The registry does not hand out the image with this log-in, or without one.",
        "Give the template the log-in of the registry, or mend the one that it names.",
    ),
    Reason(
        "registry_address_refused",
        "renter",
        _IF_RAN,
        "On the machine, the image's registry has an address that is not on the open internet.",
        "Put the image into a registry that is, with a log-in if it is private.",
    ),
    Reason(
        "secret_gone",
        "renter",
        _IF_RAN,
        "A secret that it starts with was deleted meanwhile.",
        "Add the secret again and rent again; a disk that is kept stays until you end the rental.",
    ),
    Reason("container_exited", "renter", _IF_RAN, "The container ended by itself.", _OF_IMAGE),
    Reason(
        "oom_killed",
        "renter",
        _IF_RAN,
        "The container used more memory than it has.",
        "Use less, or rent a machine with more.",
    ),
    Reason(
        "disk_full",
        "renter",
        _IF_RAN,
        "The container wrote more than its disk holds, on a machine whose storage sets no limit by itself.",
        "Start it again and delete something within ten minutes, or rent with a larger disk.",
    ),
    Reason(
        "image_cannot_start",
        "renter",
        _IF_RAN,
        "The container cannot start as its image, its command or what is on its disk wants it: there is no such "
        "user or working folder, or the command cannot be executed.",
        "Mend the image or its command; the end's message says what the engine missed.",
    ),
    Reason(
        "container_start_failed",
        "host",
        _IF_RAN,
        "The machine's engine refused to make or start the container.",
        "Rent another machine.",
    ),
    Reason(
        "hardware_failed",
        "host",
        _IF_RAN,
        "The machine could not give the container its GPUs.",
        "Rent another machine.",
    ),
    Reason(
        "networks_exhausted",
        "host",
        _IF_RAN,
        "The machine has no free network address range.",
        "Rent another machine.",
    ),
    Reason(
        UNKNOWN, "host", _IF_RAN, "The container could not be started.", "Rent another machine."
    ),
    Reason(
        "reserved_timeout",
        "host",
        _IF_RAN,
        "The machine did not take the work up in time.",
        "Rent another machine.",
    ),
    Reason(
        "pulling_timeout",
        "host",
        _IF_RAN,
        "The machine took too long to download the image.",
        "Rent a machine with a faster line, or use a smaller image.",
    ),
    Reason(
        "ssh_silent",
        "renter",
        _IF_RAN,
        "The container runs and no SSH server answers in it.",
        "See that the image starts an SSH server; what the container said last is in its log.",
    ),
    Reason(
        "starting_timeout",
        "host",
        _IF_RAN,
        "SSH did not answer through the public address in time.",
        "Rent another machine.",
    ),
    Reason(
        "host_removed",
        "host",
        _GONE,
        "The container vanished from the machine.",
        "Rent another machine; tell us what was lost.",
    ),
    Reason(
        "tunnel_refused",
        "platform",
        _IF_RAN,
        "The public address could not be opened on our side.",
        "Rent again for another address.",
    ),
)
CATALOGUE = {reason.code: reason for reason in _REASONS}


def known(code: str) -> Reason:
    """Return what a code means; what no catalogue has counts as a failed start."""
    return CATALOGUE.get(code, CATALOGUE[UNKNOWN])


def to_markdown() -> str:
    """Return the catalogue as a table."""
    lines = [
        "| code | whose doing | fault | disk | what happened | what to do |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{r.code}` | {r.party} | {r.fault} | {r.disk} | {r.meaning} | {r.advice} |"
        for r in _REASONS
    ]
    return "\n".join(lines)
