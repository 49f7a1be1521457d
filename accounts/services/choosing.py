"""What people want to be told, and by which clock."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import available_timezones

from django.db import transaction

from accounts.actors import Actor
from accounts.models import NoticeChoice, User
from accounts.notices import CATALOGUE, CHANNELS, Entry, is_on
from audit import services as audit
from core.errors import Conflict, Invalid

MOST_CHOICES = 200


@dataclass(frozen=True)
class Choice:
    """One switch: of one code, for one channel; `code` and `channel` as in the catalogue."""

    code: str
    channel: str
    on: bool


@dataclass(frozen=True)
class Chosen:
    """One row of switches: channel -> on, and the channels that cannot be switched off."""

    entry: Entry
    channels: Mapping[str, bool]


def choices_of(*, actor: Actor) -> list[Chosen]:
    """Return what the actor is told of and how, in the catalogue's order, for what they do here."""
    actor.require("notice:manage")
    rows = NoticeChoice.objects.visible_to(actor).values_list("code", "channel", "on")
    chosen = {(code, channel): on for code, channel, on in rows}
    return [
        Chosen(
            entry,
            {
                channel: is_on(entry, channel, chosen.get((entry.code, channel)))
                for channel in CHANNELS
            },
        )
        for entry in CATALOGUE.values()
    ]


@transaction.atomic
def choose_notices(*, actor: Actor, choices: Sequence[Choice], zone: str | None = None) -> None:
    """Switch channels of notices on or off and set the clock of mail; when one is refused, nothing changes.

    `zone` is an IANA name, empty for UTC, None to leave it. Raises Invalid `notice_code_unknown`,
    `notice_channel_unknown`, `too_many_choices`, `time_zone_unknown`; Conflict `notice_fixed` for what tells
    of the safety of the account or of a disk.
    """
    actor.require("notice:manage")
    if len(choices) > MOST_CHOICES:
        raise Invalid("too_many_choices", f"Send at most {MOST_CHOICES} choices at once.")
    for choice in choices:
        _check(choice)
    if zone and zone not in available_timezones():
        raise Invalid("time_zone_unknown", "A time zone has a name such as Europe/Oslo or UTC.")
    for choice in choices:
        NoticeChoice.objects.update_or_create(
            user_id=actor.user_id,
            code=choice.code,
            channel=choice.channel,
            defaults={"on": choice.on},
        )
    if zone is not None:
        User.objects.filter(pk=actor.user_id).update(time_zone=zone)
    audit.record(
        actor=actor,
        verb="notices.chosen",
        subject_type="user",
        subject_id=actor.user_id,
        data={"choices": [[each.code, each.channel, each.on] for each in choices], "zone": zone},
    )


def _check(choice: Choice) -> None:
    entry = CATALOGUE.get(choice.code)
    if entry is None:
        raise Invalid(
            "notice_code_unknown",
            f"There is no notification {choice.code[:40]!r}. The codes are in docs/notifications.md.",
        )
    if choice.channel not in CHANNELS:
        raise Invalid("notice_channel_unknown", f"A channel is one of {', '.join(CHANNELS)}.")
    if choice.channel in entry.fixed and not choice.on:
        raise Conflict(
            "notice_fixed",
            f"{choice.code} cannot be switched off for {choice.channel}: it tells of the safety of "
            "your account or of your data. Nothing was changed.",
        )


def zone_name_of(*, user_id: uuid.UUID) -> str:
    """Return the IANA name of a person's time zone; empty when it is not known."""
    return User.objects.values_list("time_zone", flat=True).get(pk=user_id)
