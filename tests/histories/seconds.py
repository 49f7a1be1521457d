"""Which seconds somebody could use a rental, kept apart from everything that the platform computes. Epoch seconds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

Span = tuple[int, int]


def without(spans: list[Span], gaps: list[Span]) -> list[Span]:
    """Return the seconds of `spans` that lie in no gap."""
    left = list(spans)
    for first, last in gaps:
        parts = [((a, min(b, first)), (max(a, last), b)) for a, b in left]
        left = [part for pair in parts for part in pair if part[0] < part[1]]
    return left


def count(spans: list[Span]) -> int:
    """Return how many seconds there are; no second may be in two spans."""
    ordered = sorted(span for span in spans if span[0] < span[1])
    for (_, end), (start, _) in itertools.pairwise(ordered):
        assert end <= start, f"a second twice: {ordered}"
    return sum(end - start for start, end in ordered)


@dataclass
class Use:
    """The seconds of one kind that a rental should cost: closed spans, and one that may be open."""

    spans: list[Span] = field(default_factory=list)
    since: int | None = None

    def open(self, at: int) -> None:
        if self.since is None:
            self.since = at

    def close(self, at: int) -> int:
        """End the open span, not before its beginning; return where."""
        assert self.since is not None
        end = max(at, self.since)
        self.spans.append((self.since, end))
        self.since = None
        return end

    def until(self, now: int) -> list[Span]:
        """Return all spans, the open one up to `now`."""
        return self.spans if self.since is None else [*self.spans, (self.since, now)]


@dataclass
class Seen:
    """What can be seen of a rental after a step."""

    state: str
    code: str
    running_since: int | None
    phase_since: int
    ends_at: int | None
    deleted: bool
    runs: bool
    # Since when its agent tells of this state, and when its meters ended by themselves.
    told_at: int
    last_end: dict[str, int]


@dataclass
class Truth:
    """What one rental should cost, from what happened to it and nothing else.

    `loose` are seconds of which the platform may, or may not, have known that they were usable.
    """

    state: str = "reserved"
    running_since: int | None = None
    phase_since: int = 0
    through: int | None = None
    work: Use = field(default_factory=Use)
    disk: Use = field(default_factory=Use)
    loose: int = 0

    def follow(self, seen: Seen, now: int, gaps: list[Span]) -> None:
        """Take in what a step at `now` has made of the rental."""
        came_up = seen.state == "running" and self.state != "running"
        if came_up or seen.running_since != self.running_since:
            self._came_up(seen, now, gaps)
        if self.work.since is not None and seen.state != "running":
            end = self.work.close(self._end(seen, now, "compute"))
            turned = seen.state == "starting" or (seen.state == "stopping" and seen.runs)
            self.through = end if turned else None
        if seen.state in {"stopped", "ended"}:
            self.through = None
        if self.disk.since is not None and seen.deleted:
            self.disk.close(self._end(seen, now, "storage"))
        self.state, self.phase_since = seen.state, seen.phase_since

    def _came_up(self, seen: Seen, now: int, gaps: list[Span]) -> None:
        since = now
        if self.running_since is not None:
            # The machine did its part when it told that the container runs (ADR 15).
            since = min(now, max(seen.told_at, self.phase_since))
            if self.through is not None:
                if any(last > self.through for _, last in gaps):
                    self.loose += since - self.through
                since = self.through
        self.running_since, self.through = seen.running_since, None
        self.work.open(since)
        self.disk.open(since)

    def _end(self, seen: Seen, now: int, kind: str) -> int:
        if seen.state == "starting":
            return now
        if seen.code == "end_reached" and seen.ends_at is not None:
            return seen.ends_at
        if seen.code in {"container_exited", "host_removed"}:
            return seen.told_at
        if seen.code in {"balance_used_up", "cap_reached", "disk_unpaid"}:
            # Where the money ended is for the checks of the wallet and of the cap.
            return min(now, seen.last_end.get(kind, now))
        return now
