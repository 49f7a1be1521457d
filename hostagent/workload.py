"""One workload on this machine: look, plan one action, do it, report; again until at rest.

Any line may be the last one before a crash: the next run looks again and goes on from what is true.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hostagent import netpol
from hostagent import spec as specs
from hostagent.engine import Engine, EngineAway, EngineError, PullCancelled, bridge_name
from hostagent.handover import PATIENCE_SECONDS, Handover
from hostagent.identity import rewrite, write_private
from hostagent.images import Images
from hostagent.inside import Inside
from hostagent.journal import Journal
from hostagent.planner import Action, Container, Facts, Wish, plan, why_it_failed
from hostagent.protocol import (
    ContainerSpec,
    DesiredWorkload,
    PullProgress,
    WorkloadReport,
    WorkloadState,
)
from hostagent.tunnel import Proxy, TunnelAway, Tunnels

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
TROUBLE_SECONDS = 2.0
REPORT_PULL_BYTES = 4_000_000
TUNNEL_POLL_SECONDS = 0.03
TUNNEL_PATIENCE_SECONDS = 2.0
REPOST_SECONDS = (1.0, 2.0, 4.0)


@dataclass
class Site:
    """What all workloads of this agent share."""

    node_id: str
    folder: Path
    engine: Engine
    images: Images
    tunnels: Tunnels
    journal: Journal
    limits: specs.MachineLimits
    report: Callable[[WorkloadReport], None]
    pulled: Callable[[], None]


class Workload:
    """Follows one wish. `wish_for` may be called at any time; `run` is the one task that acts."""

    def __init__(self, site: Site, wished: DesiredWorkload) -> None:
        self.site = site
        self.id = wished.workload_id
        self.generation = wished.workload_generation
        self.spec: ContainerSpec | None = wished.spec
        self.wish = Wish(wished.state)
        self.rental_id = wished.rental_id
        self.reported: WorkloadReport | None = None
        self._wake = asyncio.Event()
        self._cancel_pull = threading.Event()
        self._reposts = 0
        self._address = ""
        # What the container reads when it starts.
        self.handover = Handover(site.folder / "launch" / f"{self.id}-g{self.generation}")
        self.left = asyncio.Event()
        self.inside = Inside(self.id, site.engine, site.journal, self.handover, self.wake)

    @property
    def name(self) -> str:
        return f"dc-{self.id}-g{self.generation}"

    @property
    def keys_file(self) -> Path:
        # A fresh container has its own: the one before it may still be on its way out.
        return self.site.folder / "keys" / f"{self.id}-g{self.generation}"

    @property
    def labels(self) -> dict[str, str]:
        return {
            "dc.node": self.site.node_id,
            "dc.workload": self.id,
            "dc.generation": str(self.generation),
            "dc.rental": self.rental_id,
        }

    def wish_for(self, wished: DesiredWorkload) -> None:
        """Take a new picture; older incarnations' pictures change nothing."""
        if wished.workload_generation < self.generation:
            return
        self.spec = wished.spec or self.spec
        self.wish = Wish(wished.state)
        if self.wish is not Wish.RUNNING:
            self._cancel_pull.set()
            self.site.journal.forget_failure(self.id)
        else:
            self._cancel_pull.clear()
        self.wake()

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    async def run(self) -> None:
        """Act until nothing is left of this workload and nobody wishes for it."""
        while True:
            self._wake.clear()
            pause = TICK_SECONDS
            # This workload's trouble is not the others'.
            try:
                pause = await self._converge()
            except EngineError as error:
                self._fail(error.code, str(error))
            except netpol.NetworkPolicyError as error:
                self._fail("network_rules_missing", str(error))
            except PullCancelled:
                log.info("%s: download cancelled", self.name)
                pause = 0.0
            except (EngineAway, TunnelAway) as error:
                log.warning("%s: %s", self.name, error)
                pause = 0.5
            except Exception:  # the outer loop: a task that dies would never stop its container
                log.exception("%s", self.name)
                pause = TROUBLE_SECONDS
            if self.reported and self.reported.state is WorkloadState.ABSENT:
                return
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def _converge(self) -> float:
        """Do what the plan says until it says nothing; return how long to rest."""
        while True:
            facts, state = await self._look()
            if facts.container is not Container.NONE:
                await asyncio.to_thread(self._hand_over_keys)
            if self.spec and facts.container is Container.RUNNING:
                self.inside.save_if_due(self.name, self.spec)
                await asyncio.to_thread(self.handover.feed, self.spec)
            action = plan(self.wish, facts)
            if action is Action.NOTHING:
                self._report_rest(facts)
                return TICK_SECONDS
            log.info("%s: %s", self.name, action.value)
            if action is Action.FAIL:
                await self._fail_for(facts.container, state)
                return TICK_SECONDS
            if not await self._do(action):
                return self._repost_pause()

    async def _fail_for(self, container: Container, state: dict[str, Any]) -> None:
        gone = container is Container.NONE
        logs = "" if gone else await asyncio.to_thread(self.site.engine.log_tail, self.name)
        self._fail(*why_it_failed(container, state), logs)

    async def read_load(self) -> None:
        """Look at how busy a running container is."""
        if self.spec and self.reported and self.reported.state is WorkloadState.RUNNING:
            await self.inside.read_load(self.name, self.spec)

    async def _look(self) -> tuple[Facts, dict[str, Any]]:
        engine = self.site.engine
        container, state = await asyncio.to_thread(engine.state, self.name)
        if container in {Container.RUNNING, Container.EXITED}:
            self.site.journal.note_there(self.id, self.generation)
        wanted = await self._proxies_wanted()
        is_open = False
        if self.wish is Wish.RUNNING and container is Container.RUNNING:
            is_open = await self._tunnels_running()
        leftovers = self.keys_file.exists() or (
            self.wish is Wish.ABSENT and await asyncio.to_thread(engine.network_exists, self.name)
        )
        facts = Facts(
            container=container,
            tunnels_open=is_open,
            any_tunnel=bool(wanted),
            stopped_by_us=self.site.journal.is_stopped(self.id),
            failed=self.site.journal.failure(self.id, self.generation) is not None,
            leftovers=leftovers,
            restart_due=self._restarts_wished > self.site.journal.restarts(self.id),
            was_there=self.site.journal.was_there(self.id, self.generation),
        )
        return facts, state

    @property
    def _restarts_wished(self) -> int:
        return self.spec.restarts if self.spec else 0

    async def _proxies_wanted(self) -> list[str]:
        if self.wish is Wish.RUNNING:
            return []
        return await self.site.tunnels.names(self.id)

    async def _do(self, action: Action) -> bool:
        """Do one action; False when the world is not ready for the next one."""
        engine = self.site.engine
        if action is Action.CREATE:
            await self._create()
        elif action is Action.START:
            await self._start()
        elif action is Action.OPEN_TUNNELS:
            return await self._open_tunnels()
        elif action is Action.CLOSE_TUNNELS:
            self._say(WorkloadState.STOPPING)
            for name in await self.site.tunnels.names(self.id):
                await self.site.tunnels.remove(name)
        elif action is Action.STOP:
            self._say(WorkloadState.STOPPING)
            self.site.journal.note_stop(self.id)
            timeout = self.spec.stop_timeout_s if self.spec else 10
            await asyncio.to_thread(engine.stop, self.name, timeout)
            logs = await asyncio.to_thread(engine.log_tail, self.name)
            self._say(WorkloadState.STOPPING, logs=logs)
        elif action is Action.REMOVE:
            await self._remove()
        return True

    async def _start(self) -> None:
        assert self.spec is not None
        self._require_secrets()
        self._say(WorkloadState.STARTING)
        # Nothing starts beside a firewall that somebody has flushed meanwhile.
        await asyncio.to_thread(netpol.load)
        await asyncio.to_thread(self.handover.prepare, self.spec)
        await asyncio.to_thread(self.site.engine.start, self.name)
        self.site.journal.note_start(self.id, self._restarts_wished)
        await asyncio.to_thread(self.handover.feed, self.spec, PATIENCE_SECONDS)

    def _require_secrets(self) -> None:
        if self.spec and (gone := ", ".join(self.spec.secrets_gone)):
            raise EngineError("secret_gone", f"The secret of {gone} has been deleted.")

    async def _create(self) -> None:
        assert self.spec is not None
        self._require_secrets()
        engine, spec = self.site.engine, self.spec
        if not await asyncio.to_thread(self.site.images.may_start, spec.image):
            await self._pull(spec)
        self._say(WorkloadState.STARTING)
        program: tuple[str, ...] = ()
        if specs.needs_launcher(spec):
            image = await asyncio.to_thread(engine.image_config, spec.image)
            program = specs.program_of(spec, image)
        await asyncio.to_thread(self.handover.prepare, spec)
        write_private(self.keys_file, self._keys)
        address = await self._network()
        place = specs.Place(
            name=self.name,
            network=self.name,
            address=address,
            keys_file=str(self.keys_file),
            labels=self.labels,
            launch_folder=str(self.handover.folder) if program else "",
            program=program,
        )
        await asyncio.to_thread(engine.create, spec, place, self.site.limits)

    @property
    def _keys(self) -> bytes:
        assert self.spec is not None
        return "".join(f"{key}\n" for key in self.spec.ssh_keys).encode()

    def _hand_over_keys(self) -> None:
        """Give a container that is there the keys that are wished now; sshd reads them at each log-in."""
        if self.spec is None or self.wish is not Wish.RUNNING:
            return
        if not self.keys_file.exists() or self.keys_file.read_bytes() != self._keys:
            log.info("%s: other SSH keys", self.name)
            rewrite(self.keys_file, self._keys)

    async def _network(self) -> str:
        if not self._address:
            self._address = await asyncio.to_thread(
                self.site.engine.ensure_network, self.name, bridge_name(self.id), self.labels
            )
        return self._address

    async def _pull(self, spec: ContainerSpec) -> None:
        told = -REPORT_PULL_BYTES
        loop = asyncio.get_running_loop()

        def progress(current: int, total: int | None) -> None:
            nonlocal told
            if current - told >= REPORT_PULL_BYTES or current == total:
                told = current
                pull = PullProgress(current=current, total=total)
                loop.call_soon_threadsafe(lambda: self._say(WorkloadState.PULLING, pull=pull))

        self._say(WorkloadState.PULLING, pull=PullProgress(current=0))
        await asyncio.to_thread(
            self.site.images.pull, spec.image, progress, self._cancel_pull, spec.registry_login
        )
        self.site.pulled()

    def _proxies(self) -> list[Proxy]:
        assert self.spec is not None
        return [
            Proxy(self.site.node_id, self.id, self.generation, int(inner), outer, self._address)
            for inner, outer in sorted(self.spec.proxy_port_mapping.items())
        ]

    async def _tunnels_running(self) -> bool:
        if self.spec is None:
            return False
        status = await self.site.tunnels.status()
        return all(status.get(p.name, ("", ""))[0] == "running" for p in self._proxies())

    async def _open_tunnels(self) -> bool:
        if self.reported is None or self.reported.state is not WorkloadState.STARTING:
            self._say(WorkloadState.STARTING)
        await self._network()
        proxies = self._proxies()
        status = await self.site.tunnels.status()
        for proxy in proxies:
            if status.get(proxy.name, ("", ""))[0] == "start error":
                # frpc by itself would wait 30 s; taken away and posted again it asks at once.
                await self.site.tunnels.remove(proxy.name)
            await self.site.tunnels.add(proxy)
        deadline = asyncio.get_running_loop().time() + TUNNEL_PATIENCE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if await self._tunnels_running():
                self._reposts = 0
                return True
            await asyncio.sleep(TUNNEL_POLL_SECONDS)
        await self._say_what_is_closed(proxies)
        return False

    async def _say_what_is_closed(self, proxies: list[Proxy]) -> None:
        """Report why the address does not open; the platform decides how long that may go on."""
        status = await self.site.tunnels.status()
        errors = [status[proxy.name][1] for proxy in proxies if proxy.name in status]
        if error := next(filter(None, errors), ""):
            # frps keeps the reason to itself: the gate said no, or something else has the port there.
            self._say(WorkloadState.STARTING, code="tunnel_refused", message=error[:500])

    def _repost_pause(self) -> float:
        pause = REPOST_SECONDS[min(self._reposts, len(REPOST_SECONDS) - 1)]
        self._reposts += 1
        return pause

    async def _remove(self) -> None:
        engine = self.site.engine
        await asyncio.to_thread(engine.remove, self.name)
        await asyncio.to_thread(engine.remove_network, self.name)
        self.keys_file.unlink(missing_ok=True)
        await asyncio.to_thread(self.handover.remove)
        self.site.journal.forget(self.id)
        self._address = ""

    def _report_rest(self, facts: Facts) -> None:
        lost = facts.container is Container.NONE and facts.was_there
        if self.wish is Wish.RUNNING:
            failure = self.site.journal.failure(self.id, self.generation)
            if failure is not None:
                code, message = failure
                self._say(WorkloadState.FAILED, code=code, message=message)
            else:
                self._say(WorkloadState.RUNNING)
        elif self.wish is Wish.STOPPED and not lost:
            # One that ended by itself or was never made counts as stopped: it may be started again.
            self.site.journal.note_stop(self.id)
            self._say(WorkloadState.STOPPED)
        else:
            self._say(WorkloadState.ABSENT)

    def _fail(self, code: str, message: str, logs: str = "") -> None:
        if self.wish is Wish.RUNNING:
            self.site.journal.note_failure(self.id, self.generation, code, message)
            self._say(WorkloadState.FAILED, code=code, message=message, logs=logs)
        else:
            log.error("%s: %s: %s", self.name, code, message)

    def _say(self, state: WorkloadState, *, logs: str = "", **more: Any) -> None:
        seen = WorkloadReport(
            workload_id=self.id,
            generation=self.generation,
            state=state,
            degraded=specs.degraded(self.spec, self.site.limits) if self.spec else [],
            restarts=self.site.journal.restarts(self.id),
            checkpoint=self.inside.checkpoint,
            idle=state is WorkloadState.RUNNING and self.inside.load.idle,
            sent_bytes=self.inside.load.sent_bytes,
            **more,
        )
        if seen != self.reported or logs:
            self.reported = seen
            self.site.report(msgspec.structs.replace(seen, logs=logs))
