"""What a wallet should hold, by plain arithmetic and apart from everything that the platform computes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass
class ModelMeter:
    """What a meter should have billed: [started, settled), all of it at `rate`."""

    rate: int
    payee_rate: int
    started: int
    settled: int
    ended: bool = False


@dataclass
class Model:
    """The wallet by plain arithmetic: what came in, less what each meter has billed."""

    paid_in: int = 0
    given: int = 0
    asof: int = 0
    holds: dict[uuid.UUID, int] = field(default_factory=dict)
    meters: dict[uuid.UUID, ModelMeter] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        used = sum(m.rate * (m.settled - m.started) for m in self.meters.values())
        return self.paid_in + self.given - used

    @property
    def free(self) -> int:
        return self.balance - sum(self.holds.values())

    def free_at(self, now: int) -> int:
        """Return what is free now: the meters' seconds since the last posting are spent."""
        burn = sum(meter.rate for meter in self.open)
        return self.free - burn * (self.limit(now) - self.asof)

    @property
    def open(self) -> list[ModelMeter]:
        return [meter for meter in self.meters.values() if not meter.ended]

    def limit(self, until: int) -> int:
        """Return the second up to which there is money, never before what is posted."""
        burn = sum(meter.rate for meter in self.open)
        last = until if not burn else min(until, self.asof + self.free // burn)
        return max(self.asof, last)

    def settle(self, until: int) -> None:
        point = self.limit(until)
        for meter in self.open:
            meter.settled = point
        self.asof = point

    def copy(self) -> Model:
        """Return the same books, to be written on apart from these."""
        meters = {key: ModelMeter(**vars(meter)) for key, meter in self.meters.items()}
        return Model(self.paid_in, self.given, self.asof, dict(self.holds), meters)
