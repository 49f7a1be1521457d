"""The loop: messages in, wishes to workloads, reports and heartbeats out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from hostagent import __version__, checks, hardware, netpol, tunnel
from hostagent.disk import DiskWatch
from hostagent.engine import Engine, EngineAway
from hostagent.identity import Identity, Membership
from hostagent.images import Images
from hostagent.journal import Journal
from hostagent.link import Link
from hostagent.protocol import (
    Ack,
    Challenge,
    Desired,
    DesiredWorkload,
    DrainNode,
    Heartbeat,
    Hello,
    ImageCache,
    Observed,
    PlatformMessage,
    StartInstance,
    StopInstance,
    Welcome,
    WorkloadReport,
    WorkloadState,
    fitting,
    session_statement,
)
from hostagent.protocol.messages import Message
from hostagent.registries import allowed_inside
from hostagent.spec import MachineLimits
from hostagent.workload import Site, Workload

log = logging.getLogger(__name__)

GRACE_FOR_UNKNOWN_SECONDS = 10.0
ENGINE_PAUSE_SECONDS = 1.0
NETWORK_RULES_SECONDS = 15.0
CACHE_SECONDS = 60.0
FRAME_SECONDS = 0.05
BEATS_A_READING = 3


class Agent:
    """One node's agent. `run` returns only by an exception or by being cancelled."""

    def __init__(self, folder: Path, membership: Membership, identity: Identity) -> None:
        self.folder = folder
        self.membership = membership
        self.identity = identity
        self.engine = Engine(membership.node_id)
        self.images = Images(self.engine, folder / "pulls.json", inside=allowed_inside())
        self.link = Link(membership, self._hello, self._receive)
        self.journal = Journal(folder / "journal.json")
        self.tunnels = tunnel.Tunnels(folder)
        self.workloads: dict[str, Workload] = {}
        self.epoch = 0
        self.generation = 0
        self.draining = False
        self.heartbeat_seconds = 5.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsent: dict[str, WorkloadReport] = {}
        self._outgoing = asyncio.Event()
        self._site: Site | None = None
        self._pulled = asyncio.Event()
        self._told_cache: ImageCache | None = None

    async def run(self) -> None:
        """Hold the session and follow the wishes until cancelled; raises LinkRefused."""
        await self._prepare()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run())
            group.create_task(self._beat())
            group.create_task(self._deliver())
            group.create_task(self._watch_deaths())
            group.create_task(self._keep_network_rules())
            group.create_task(self._tell_cache())
            group.create_task(self._read_loads())
            group.create_task(self._watch_disks())

    async def _keep_network_rules(self) -> None:
        """Load the rules now and again and again: a restart of the host's own firewall flushes them."""
        while True:
            try:
                await asyncio.to_thread(netpol.load)
            except (netpol.NetworkPolicyError, OSError) as error:
                log.error("network rules: %s", error)
            await asyncio.sleep(NETWORK_RULES_SECONDS)

    async def _read_loads(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds * BEATS_A_READING)
            for workload in list(self.workloads.values()):
                await workload.read_load()

    async def _watch_disks(self) -> None:
        assert self._site is not None
        if not self._site.limits.disk_quota:
            root = Path((await self._engine_info()).get("DockerRootDir") or "/")
            watch = DiskWatch(self.engine, self.journal, root)
            await watch.run(lambda: list(self.workloads.values()))

    async def _prepare(self) -> None:
        limits = await self._wait_for_engine()
        self._site = Site(
            node_id=self.membership.node_id,
            folder=self.folder,
            engine=self.engine,
            images=self.images,
            tunnels=self.tunnels,
            journal=self.journal,
            limits=limits,
            report=self._report,
            pulled=self._pulled.set,
        )

    async def _wait_for_engine(self) -> MachineLimits:
        while True:
            try:
                return await asyncio.to_thread(self.engine.limits)
            except EngineAway as error:
                log.warning("the engine does not answer: %s", error)
            await asyncio.sleep(ENGINE_PAUSE_SECONDS)

    async def _hello(self, challenge: Challenge) -> Message:
        # Until the welcome there is no session: a report with the old epoch would be void.
        self.epoch = 0
        info = await self._engine_info()
        self._told_cache = await asyncio.to_thread(self.images.cache)
        statement = session_statement(
            deployment=self.membership.deployment,
            node_id=self.membership.node_id,
            key_id=self.membership.key_id,
            nonce=challenge.nonce,
        )
        return Hello(
            node_id=self.membership.node_id,
            key_id=self.membership.key_id,
            signature=self.identity.sign(statement),
            agent_version=__version__,
            instance_id=self.identity.instance_id,
            boot_id=self.identity.boot_id,
            generation=self.generation,
            facts=hardware.host_facts(info, storage=self.folder),
            checks=await asyncio.to_thread(checks.run_all, info, self.folder),
            # The welcome makes every workload report again: what does not fit here comes then.
            observed=fitting(w.reported for w in self.workloads.values() if w.reported),
            cache=self._told_cache,
        )

    async def _engine_info(self) -> dict[str, Any]:
        while True:
            try:
                return await asyncio.to_thread(self.engine.info)
            except EngineAway as error:
                log.warning("the engine does not answer: %s", error)
            await asyncio.sleep(ENGINE_PAUSE_SECONDS)

    async def _receive(self, message: PlatformMessage) -> None:
        if isinstance(message, Welcome):
            await self._welcomed(message)
        elif (
            isinstance(message, Desired | StartInstance | StopInstance | DrainNode)
            and message.epoch == self.epoch
        ):
            await self._obey(message)

    async def _welcomed(self, welcome: Welcome) -> None:
        log.info("session %s open", welcome.epoch)
        self.epoch = welcome.epoch
        self.heartbeat_seconds = welcome.heartbeat_s
        if await asyncio.to_thread(tunnel.write_config, welcome.tunnel, self.folder):
            with contextlib.suppress(tunnel.TunnelAway):
                await self.tunnels.restart()
        self._take_all(welcome.desired)
        for workload in self.workloads.values():
            if workload.reported:
                self._report(workload.reported)
        self._spawn(self._sweep_unknown(welcome.epoch))

    async def _obey(self, message: Desired | StartInstance | StopInstance | DrainNode) -> None:
        if isinstance(message, Desired):
            self._take_all(message)
            return
        if isinstance(message, DrainNode):
            self.draining = message.draining
        elif isinstance(message, StartInstance):
            self._take(
                DesiredWorkload(
                    workload_id=message.workload_id,
                    workload_generation=message.workload_generation,
                    rental_id=message.rental_id,
                    state="running",
                    spec=message.spec,
                )
            )
        else:
            self._take(
                DesiredWorkload(
                    workload_id=message.workload_id,
                    workload_generation=message.workload_generation,
                    rental_id="",
                    state="absent" if message.remove else "stopped",
                )
            )
        # Commands of one node arrive in order; a gap shows in the heartbeat and brings the whole set.
        if message.generation == self.generation + 1:
            self.generation = message.generation
        await self.link.send(Ack(id=message.id, epoch=self.epoch, generation=message.generation))

    def _take_all(self, desired: Desired) -> None:
        wished = {wish.workload_id for wish in desired.workloads}
        for wish in desired.workloads:
            self._take(wish)
        for workload_id, workload in self.workloads.items():
            if workload_id not in wished:
                workload.wish_for(_gone(workload_id, workload.generation))
        self.draining = desired.draining
        self.generation = desired.generation

    def _take(self, wished: DesiredWorkload) -> None:
        assert self._site is not None
        known = self.workloads.get(wished.workload_id)
        if known is not None and wished.workload_generation <= known.generation:
            known.wish_for(wished)
            return
        if known is not None:
            # A fresh container is wished for: the one before it goes first, with its network and ports.
            known.wish_for(_gone(known.id, known.generation))
        workload = Workload(self._site, wished)
        self.workloads[wished.workload_id] = workload
        self._spawn(self._follow(workload, known))

    async def _follow(self, workload: Workload, before: Workload | None) -> None:
        if before is None:
            before = await self._left_behind(workload)
        if before is not None:
            await before.left.wait()
        try:
            await workload.run()
        finally:
            workload.left.set()
        if self.workloads.get(workload.id) is workload:
            del self.workloads[workload.id]

    async def _left_behind(self, workload: Workload) -> Workload | None:
        """Return an older container of this workload, on its way out; an agent that was down finds one."""
        assert self._site is not None
        if workload.generation == 1:
            return None
        for workload_id, generation in await self._ours():
            if workload_id == workload.id and generation < workload.generation:
                older = Workload(self._site, _gone(workload.id, generation))
                self._spawn(self._follow(older, None))
                return older
        return None

    async def _ours(self) -> list[tuple[str, int]]:
        while True:
            try:
                return await asyncio.to_thread(self.engine.ours)
            except EngineAway as error:
                log.warning("the engine does not answer: %s", error)
            await asyncio.sleep(ENGINE_PAUSE_SECONDS)

    def _spawn(self, coroutine: object) -> None:
        assert asyncio.iscoroutine(coroutine)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task died", exc_info=task.exception())

    async def _sweep_unknown(self, epoch: int) -> None:
        """Remove our own containers that nobody wishes for, a while after a welcome."""
        await asyncio.sleep(GRACE_FOR_UNKNOWN_SECONDS)
        found = await self._ours()
        if epoch != self.epoch:
            return
        for workload_id, generation in found:
            if workload_id not in self.workloads:
                log.warning("container of %s is not wished for: removing it", workload_id)
                self._take(_gone(workload_id, generation))

    async def _watch_deaths(self) -> None:
        """Wake a workload the moment its container dies; the tick finds what this misses."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def watch() -> None:
            try:
                for workload_id in self.engine.deaths():
                    loop.call_soon_threadsafe(self._wake, workload_id)
            except EngineAway as error:
                log.warning("events of the engine: %s", error)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop closes when the agent stops
                    loop.call_soon_threadsafe(ended.set)

        while True:
            ended.clear()
            # A daemon: the read blocks for ever, and must not keep a stopping agent alive.
            threading.Thread(target=watch, name="engine-events", daemon=True).start()
            await ended.wait()
            await asyncio.sleep(ENGINE_PAUSE_SECONDS)

    def _wake(self, workload_id: str) -> None:
        if workload_id in self.workloads:
            self.workloads[workload_id].wake()

    def _report(self, report: WorkloadReport) -> None:
        waiting = self._unsent.get(report.workload_id)
        if waiting is not None and not report.logs:
            report = msgspec.structs.replace(report, logs=waiting.logs)
        self._unsent[report.workload_id] = report
        self._outgoing.set()

    async def _deliver(self) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            if not self.epoch or not self._unsent:
                continue
            batch, self._unsent = self._unsent, {}
            while batch:
                part = _fitting(batch)
                if not await self.link.send(Observed(epoch=self.epoch, workloads=part)):
                    # The next welcome makes every workload report again; keep what is newest until then.
                    self._unsent = {**batch, **self._unsent}
                    break
                for report in part:
                    del batch[report.workload_id]
                # What changes meanwhile goes into the next frame, and no more of them than the platform takes.
                await asyncio.sleep(FRAME_SECONDS)

    async def _tell_cache(self) -> None:
        """Tell which images are here after each download, and now and then for what others pulled or removed."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pulled.wait(), CACHE_SECONDS)
            self._pulled.clear()
            seen = await asyncio.to_thread(self.images.cache)
            if not self.epoch or seen is None or seen == self._told_cache:
                continue
            if await self.link.send(Observed(epoch=self.epoch, workloads=[], cache=seen)):
                self._told_cache = seen

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            if not self.epoch:
                continue
            running = any(
                w.reported and w.reported.state is WorkloadState.RUNNING
                for w in self.workloads.values()
            )
            beat = Heartbeat(
                node_id=self.membership.node_id,
                epoch=self.epoch,
                generation=self.generation,
                status="busy" if running else "online",
                metrics=hardware.metrics(self.folder),
                clock_mono=time.monotonic(),
            )
            await self.link.send(beat)
            if self._unsent:
                self._outgoing.set()


def _fitting(batch: dict[str, WorkloadReport]) -> list[WorkloadReport]:
    """Return what goes into one frame: as many short reports as fit, or a single one with its logs."""
    short = [report for report in batch.values() if not report.logs]
    return fitting(short) or [next(iter(batch.values()))]


def _gone(workload_id: str, generation: int) -> DesiredWorkload:
    return DesiredWorkload(
        workload_id=workload_id, workload_generation=generation, rental_id="", state="absent"
    )
