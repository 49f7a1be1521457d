"""A machine without a machine: containers that follow what is wished, one step at a time, and an agent that tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from accounts.actors import Actor
from core import clock
from hostagent.protocol import Observed, WorkloadReport, WorkloadState
from nodes import gateway
from nodes import services as nodes
from nodes.machine import Wish
from nodes.models import AgentSession, Node, Offer, Workload
from tests import cast

NEXT = {
    "": WorkloadState.PULLING,
    "pulling": WorkloadState.STARTING,
    "starting": WorkloadState.RUNNING,
    "running": WorkloadState.RUNNING,
    "stopped": WorkloadState.STARTING,
}


@dataclass
class Box:
    """One container as it really is."""

    state: str = ""
    generation: int = 1
    restarts: int = 0
    idle: bool = False
    # Whether there has been a disk, and why what has failed did.
    made: bool = False
    code: str = "container_exited"

    def step(self, workload: Workload) -> None:
        """Do the next thing that the agent would do for what is wished."""
        restarts = workload.spec.get("restarts", 0)
        if workload.wish == Wish.ABSENT:
            self.state, self.generation = "absent", workload.generation
        elif workload.wish == Wish.STOPPED:
            self._stop(workload.generation)
        elif self.generation < workload.generation:
            self.state, self.generation, self.restarts = "", workload.generation, restarts
            self.made = False
        elif self.restarts < restarts and self.state not in {"absent", "failed"}:
            self.restarts, self.state = restarts, "starting"
        else:
            self.state = str(NEXT.get(self.state, self.state))
        self.made = self.made or self.state == "running"

    def _stop(self, generation: int) -> None:
        if generation > self.generation:
            self.generation, self.made = generation, False
        removed = self.state == "failed" and self.code == "host_removed"
        lost = self.made and (self.state == "absent" or removed)
        self.state = "absent" if lost else "stopped"


@dataclass
class Machine:
    """An agent that is heard, or silent since an instant (epoch seconds)."""

    agent: cast.ProtocolAgent
    offer: Offer
    link: gateway.AgentLink
    boxes: dict[str, Box] = field(default_factory=dict)
    silent_since: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def made(cls, host: Actor, gpus: int) -> Machine:
        agent, offer = cast.machine(host, gpus=gpus)
        return cls(agent, offer, agent.connect())

    @property
    def gpus(self) -> int:
        return len(self.agent.facts.gpus)

    @property
    def workloads(self) -> list[Workload]:
        found = Workload.objects.filter(node_id=self.agent.node_id).order_by("pk")
        return [workload for workload in found if not workload.gone]

    def box(self, workload: Workload) -> Box:
        return self.boxes.setdefault(str(workload.pk), Box(generation=workload.generation))

    def step(self) -> None:
        """Let every container do its next thing, and tell."""
        for workload in self.workloads:
            self.box(workload).step(workload)
        self.tell()

    def tell(self) -> None:
        if self.silent_since is None:
            for report in self.reports():
                seen = Observed(epoch=self.link.epoch, workloads=[report])
                gateway.handle(self.link, seen)

    def reports(self) -> list[WorkloadReport]:
        found = []
        for workload in self.workloads:
            box = self.box(workload)
            if box.state:
                failed = box.state == "failed"
                found.append(
                    WorkloadReport(
                        workload_id=str(workload.pk),
                        generation=box.generation,
                        state=WorkloadState(box.state),
                        restarts=box.restarts,
                        idle=box.idle and box.state == "running",
                        code=box.code if failed else "",
                        message="It is over." if failed else "",
                    )
                )
        return found

    def beat(self) -> None:
        """It has been heard all the time up to now."""
        if self.silent_since is None:
            now = clock.now()
            Node.objects.filter(pk=self.agent.node_id, last_beat__lt=now).update(last_beat=now)
            AgentSession.objects.filter(
                node_id=self.agent.node_id, epoch=self.link.epoch, last_beat__lt=now
            ).update(last_beat=now)

    def fall_silent(self) -> None:
        if self.silent_since is None:
            self.silent_since = clock.epoch()

    def come_back(self, *, signs_in: bool, limit: float) -> None:
        """Be heard again, by a session or by a beat of the old one; a long silence was a gap."""
        if self.silent_since is None:
            return
        since, self.silent_since = self.silent_since, None
        lost = Node.objects.filter(pk=self.agent.node_id, status="offline").exists()
        if signs_in or lost:
            link = self.agent.dial()
            [welcome] = gateway.handle(link, self.agent.hello(link, observed=self.reports()))
            self.link = link
        else:
            nodes.record_beats(
                beats={(self.agent.node_id, self.link.epoch): clock.now().timestamp()}
            )
            self.tell()
        if clock.epoch() - since >= limit:
            self.gaps.append((since, clock.epoch()))
