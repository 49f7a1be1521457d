"""Every message and every nested value of the wire contract. Sizes: MiB for memory, GB (1e9) for disk.

Direction agent -> platform: Hello, Heartbeat, Ack, Observed, Reject.
Direction platform -> agent: Challenge, Welcome, Desired, StartInstance, StopInstance, DrainNode, Reject.

A node has one counter, its *generation*, which rises with every change of what should run there. Each
command carries the generation it belongs to and the *whole* picture of one workload, so a lost, doubled
or reordered command does no harm: a heartbeat whose `generation` differs makes the platform send the
whole set (`desired`) again. The *epoch* rises with every session; a message of an older one is void.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hostagent.protocol.credentials import RegistryLogin as RegistryLogin

Id = Annotated[str, Meta(min_length=36, max_length=36, pattern=r"^[0-9a-f-]{36}$")]
Short = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
# The last words of a container. Escaped as JSON, six bytes a character at worst, they fit into a frame.
MAX_LOG_CHARS = 32_768
LogTail = Annotated[str, Meta(max_length=MAX_LOG_CHARS)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
# What the platform keeps in columns of these sizes.
Size = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Index = Annotated[int, Meta(ge=0, le=1023)]
Word = Annotated[str, Meta(max_length=20)]
Version = Annotated[str, Meta(max_length=40)]
Label = Annotated[str, Meta(max_length=80)]
Port = Annotated[int, Meta(ge=1, le=65535)]
ExitCode = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e6)]
# The first half of a chain id's SHA-256, in hex: enough to tell layers apart, half the frame.
Chain = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
MAX_CHAINS = 1000
MAX_PULLS = 20


class WorkloadState(StrEnum):
    """What an agent can say of a workload. `absent` means: no container, no network, no tunnel."""

    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    ABSENT = "absent"


class Value(msgspec.Struct, kw_only=True, omit_defaults=False):
    """A nested value: read tolerantly."""


class Message(msgspec.Struct, kw_only=True, tag_field="type"):
    """A frame: `type` names it."""


class GpuFacts(Value, kw_only=True):
    uuid: Label
    index: Index
    model: Label
    vram_mib: Size
    pcie_generation: Count | None = None
    pcie_width: Count | None = None
    driver: Short = ""
    cuda: Short = ""
    compute_capability: Short = ""
    mig_enabled: bool = False


class HostFacts(Value, kw_only=True):
    """The hardware and software of a machine as its agent measured it."""

    hostname: Short
    os: Short
    kernel: Short
    architecture: Short
    cpu_model: Short
    cpu_cores: Size
    memory_mib: Size
    disk_gb: Size
    disk_free_gb: Size
    docker_version: Short = ""
    docker_storage_driver: Short = ""
    runc_version: Short = ""
    nvidia_driver: Short = ""
    tier: Short = "CPU"
    gpus: Annotated[list[GpuFacts], Meta(max_length=64)] = []
    isolation: Word = "runc"
    disk_quota: bool = False
    virtualisation: Short = ""
    digest: Short = ""


class SelfTestResult(Value, kw_only=True):
    """One named check: what was measured, what is required, what to do about a failure."""

    check: Short
    passed: bool
    severity: Short
    measured: Text = ""
    required: Text = ""
    remedy: Text = ""
    code: Short = ""


class JoinRequest(Value, kw_only=True):
    """Body of `POST /api/v1/agent/join`, sent with `Authorization: Bearer <node key>`."""

    public_key: Short
    signature: Short
    agent_version: Version
    instance_id: Short
    facts: HostFacts
    checks: Annotated[list[SelfTestResult], Meta(max_length=100)] = []


class JoinAnswer(Value, kw_only=True):
    node_id: Id
    key_id: Id
    deployment: Short
    gateway_url: Short


class PullProgress(Value, kw_only=True):
    """Bytes of an image as the engine reports them; `total` is None until every layer is known."""

    current: Count
    total: Count | None = None


class PullRecord(Value, kw_only=True):
    """One download of an image: bytes that came, seconds until the last of them, seconds of unpacking after it."""

    bytes: Count
    seconds: Seconds
    unpack_seconds: Seconds


class ImageCache(Value, kw_only=True):
    """What need not be downloaded here again, and how fast the newest downloads were.

    A chain id names a layer together with all below it, unpacked: that of the lowest is its diff id, of each
    other the SHA-256 of `<chain id below> <diff id>`. `chains` holds those of the newest images.
    """

    chains: Annotated[list[Chain], Meta(max_length=MAX_CHAINS)] = []
    pulls: Annotated[list[PullRecord], Meta(max_length=MAX_PULLS)] = []


class CheckpointDone(Value, kw_only=True):
    """How a checkpoint command ended; `exit_code` is None when its time was over first."""

    serial: Count
    exit_code: ExitCode | None


class WorkloadReport(Value, kw_only=True):
    """What is true of one workload on the machine now."""

    workload_id: Id
    generation: Count
    state: WorkloadState
    container_id: Short = ""
    started_at: float | None = None
    exit_code: ExitCode | None = None
    oom_killed: bool = False
    code: Short = ""
    message: Text = ""
    pull: PullProgress | None = None
    tunnels: Annotated[dict[Short, Short], Meta(max_length=100)] = {}
    degraded: Annotated[list[Short], Meta(max_length=50)] = []
    # How many of the wished restarts this container has had.
    restarts: Count = 0
    checkpoint: CheckpointDone | None = None
    # Whether its CPU and cards have done next to nothing for a minute; what it has sent, in big steps.
    idle: bool = False
    sent_bytes: Count = 0
    # Told once, when the container has ended or is about to be removed.
    logs: LogTail = ""


class Metrics(Value, kw_only=True):
    cpu_util_pct: float = 0.0
    cpu_temp: float | None = None
    ram_used_mib: Count = 0
    disk_used_gb: Count = 0
    load_1m: float = 0.0
    # One entry a card, in the order of `index`; null for what a card does not tell.
    gpu_temp: Annotated[list[float | None], Meta(max_length=64)] = []
    gpu_utilization: Annotated[list[float | None], Meta(max_length=64)] = []
    gpu_mem_used_mib: Annotated[list[Count | None], Meta(max_length=64)] = []
    gpu_power_w: Annotated[list[float | None], Meta(max_length=64)] = []
    rental_cpu_pct: dict[str, float] = {}
    rental_mem_mib: dict[str, Count] = {}
    net_rx_bytes: Count = 0
    net_tx_bytes: Count = 0


class ResourceLimits(Value, kw_only=True):
    gpu_uuids: list[Short] = []
    gpu_indices: list[Short] = []
    cpu_cores: Count
    memory_mib: Count
    ram_limit: Short
    disk_gb: Count
    shm_mib: Count
    pids: Count


class Checkpoint(Value, kw_only=True):
    """A command to run once inside the running container, at most `timeout_s` long, before a stop."""

    serial: Count
    command: Annotated[str, Meta(min_length=1, max_length=1000)]
    timeout_s: Annotated[int, Meta(ge=1, le=600)]


class ContainerSpec(Value, kw_only=True):
    """The whole picture of one workload's container."""

    image: Annotated[str, Meta(min_length=1, max_length=500)]
    hostname: Short
    env_vars: dict[str, str]
    command: list[str] | None
    # What runs before `command`; null: the image's own.
    entrypoint: list[str] | None = None
    # Shell script beside the main program, at every start.
    start_script: str = ""
    # Variables whose values come from the renter's secrets as they are now; joined at send, never written down.
    secret_env: dict[str, str] = {}
    registry_login: RegistryLogin | None = None
    # Names of variables, or of the log-in, whose secret has been deleted: nothing can start without it.
    secrets_gone: list[Short] = []
    ssh_keys: Annotated[list[str], Meta(max_length=50)]
    ssh_port: Port
    resource_limits: ResourceLimits
    # Container port -> public port on the proxy server; JSON objects have string keys.
    proxy_port_mapping: dict[str, Port]
    stop_timeout_s: Count = 10
    # Rises with every restart that is wished: the same container, stopped and started once for each.
    restarts: Count = 0
    checkpoint: Checkpoint | None = None


class Hello(Message, kw_only=True, tag="hello"):
    """The answer to `challenge`: who I am, proven, and what runs here."""

    node_id: Id
    key_id: Id
    signature: Short
    agent_version: Version
    instance_id: Short
    boot_id: Short
    generation: Count
    facts: HostFacts
    checks: Annotated[list[SelfTestResult], Meta(max_length=100)] = []
    observed: Annotated[list[WorkloadReport], Meta(max_length=500)] = []
    # Null: this agent does not look.
    cache: ImageCache | None = None


class Heartbeat(Message, kw_only=True, tag="heartbeat"):
    node_id: Id
    epoch: Count
    generation: Count
    status: Short
    metrics: Metrics
    clock_mono: float = 0.0


class Ack(Message, kw_only=True, tag="ack"):
    """The command with this id was understood and written down; `observed` will follow."""

    id: Short
    epoch: Count
    generation: Count


class Observed(Message, kw_only=True, tag="observed"):
    epoch: Count
    workloads: Annotated[list[WorkloadReport], Meta(max_length=500)]
    # Told when it has changed.
    cache: ImageCache | None = None


class Reject(Message, kw_only=True, tag="reject"):
    """I do not understand or may not accept what you sent."""

    code: Short
    message: Text
    id: Short = ""


class Challenge(Message, kw_only=True, tag="challenge"):
    """Sign `session_statement(...)` within 30 s; the nonce is 32 random bytes in hex, for single use."""

    nonce: Short
    deployment: Short
    server_time: float


class TunnelSettings(Value, kw_only=True):
    """How this node's frpc reaches its proxy server."""

    server_host: Short
    server_port: Port
    token: Short
    node: Short
    secret: Short
    secret_version: Count
    ca_pem: Text = ""
    server_name: Short = ""


class StartInstance(Message, kw_only=True, tag="start_instance"):
    """This workload should be running, exactly so."""

    id: Short
    epoch: Count
    generation: Count
    workload_id: Id
    workload_generation: Count
    rental_id: Short
    spec: ContainerSpec


class StopInstance(Message, kw_only=True, tag="stop_instance"):
    """This workload should be stopped; `remove` also deletes container, disk, network and tunnel."""

    id: Short
    epoch: Count
    generation: Count
    workload_id: Id
    workload_generation: Count
    remove: bool
    reason: Short = ""


class DrainNode(Message, kw_only=True, tag="drain_node"):
    """Finish what runs and accept nothing new (`draining=False` takes it back)."""

    id: Short
    epoch: Count
    generation: Count
    draining: bool


class DesiredWorkload(Value, kw_only=True):
    """One workload of the whole set. `state` is running, stopped or absent; `spec` comes with running only."""

    workload_id: Id
    workload_generation: Count
    rental_id: Short
    state: Short
    spec: ContainerSpec | None = None


class Desired(Message, kw_only=True, tag="desired"):
    """The whole set: what is not in it should not be here."""

    epoch: Count
    generation: Count
    draining: bool
    workloads: list[DesiredWorkload]


class Welcome(Message, kw_only=True, tag="welcome"):
    epoch: Count
    heartbeat_s: float
    server_time: float
    tunnel: TunnelSettings
    desired: Desired


AgentMessage = Hello | Heartbeat | Ack | Observed | Reject
PlatformMessage = Challenge | Welcome | Desired | StartInstance | StopInstance | DrainNode | Reject


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of both directions and of joining, for docs and for agents in other languages."""
    kinds = {
        "from_agent": AgentMessage,
        "from_platform": PlatformMessage,
        "join_request": JoinRequest,
        "join_answer": JoinAnswer,
    }
    shapes, details = msgspec.json.schema_components(kinds.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The agent protocol of DistributedCompute",
        "properties": dict(zip(kinds, shapes, strict=True)),
        "$defs": dict(sorted(details.items())),
    }
