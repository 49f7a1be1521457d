"""What a stranger's program tries inside a container. Runs there with nothing but python3; prints what succeeded.

Each attempt is a function that raises OSError when the kernel keeps it from its aim, and returns what it got
when nothing did. `python3 hostile.py NAME…` prints a JSON object: the name of each, with null (kept out) or the gain.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x00020000, 0x40000000
AT_FDCWD = -100
# By name on the two machines that hosts have: x86-64 and arm64.
CALLS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "init_module": 175, "kexec_load": 246,
               "open_by_handle_at": 304, "add_key": 248, "userfaultfd": 323, "process_vm_readv": 310},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "init_module": 105, "kexec_load": 104,
                "open_by_handle_at": 265, "add_key": 217, "userfaultfd": 282, "process_vm_readv": 270},
}[os.uname().machine]  # fmt: skip


def call(function: Callable[..., int], *arguments: Any) -> int:
    """Call into the C library; its error is an OSError."""
    got = function(*arguments)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return got


def system_call(name: str, *arguments: Any) -> int:
    return call(LIBC.syscall, CALLS[name], *arguments)


def written(path: str, text: str) -> str:
    """Write a file that is there already: a new one would lie in a memory of the container's own."""
    with open(path, "r+", encoding="ascii") as file:
        file.write(text)
    return f"wrote {path}"


def mount_proc() -> str:
    os.makedirs("/tmp/m", exist_ok=True)
    return f"mounted {call(LIBC.mount, b'proc', b'/tmp/m', b'proc', 0, None)}"


def remount_root() -> str:
    return f"remounted {call(LIBC.mount, None, b'/', None, 32 | 4096, None)}"


def mount_cgroup() -> str:
    os.makedirs("/tmp/c", exist_ok=True)
    return f"mounted {call(LIBC.mount, b'cgroup2', b'/tmp/c', b'cgroup2', 0, None)}"


def own_user_namespace() -> str:
    return f"unshared {call(LIBC.unshare, CLONE_NEWUSER)}"


def own_mount_namespace() -> str:
    return f"unshared {call(LIBC.unshare, CLONE_NEWNS)}"


def own_network_namespace() -> str:
    return f"unshared {call(LIBC.unshare, CLONE_NEWNET)}"


def host_namespace() -> str:
    """Whatever is process 1 here must be the container's own, and its namespaces the ones we are in."""
    if os.readlink("/proc/1/ns/pid") != os.readlink("/proc/self/ns/pid"):
        return "process 1 is somebody else's"
    raise OSError(errno.EPERM, "only our own")


def processes_of_others() -> str:
    """More than one process tree means that the host's processes can be seen."""
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if len(seen) > 100 or max(seen) > 100_000:
        return f"{len(seen)} processes"
    raise OSError(errno.EPERM, "only our own")


def root_of_the_first() -> str:
    """What process 1 calls the root is the container's own, not the machine's."""
    if os.stat("/proc/1/root").st_ino != os.stat("/").st_ino:
        return "another root"
    raise OSError(errno.EPERM, "only our own")


def device_node() -> str:
    os.mknod("/tmp/sda", 0o600 | 0o060000, os.makedev(8, 0))
    return "made a block device"


def character_node() -> str:
    os.mknod("/tmp/mem", 0o600 | 0o020000, os.makedev(1, 1))
    return "made /dev/mem"


def disks() -> str:
    found = [
        n
        for n in os.listdir("/dev")
        if n.startswith(("sd", "vd", "nvme", "loop", "dm-", "kvm", "mem", "kmsg"))
    ]
    if found:
        return f"devices {found}"
    raise OSError(errno.ENOENT, "no disks")


def raw_socket() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "raw socket"


def packet_socket() -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):
        return "packet socket"


def engine_socket() -> str:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        with socket.socket(socket.AF_UNIX) as door:
            try:
                door.connect(path)
            except OSError:
                continue
            return path
    raise OSError(errno.ENOENT, "no engine here")


def agent_through_abstract_socket() -> str:
    """Abstract sockets belong to the network namespace: none of the host's is here."""
    with open("/proc/net/unix", encoding="ascii") as file:
        names = [line.split()[-1] for line in file.readlines()[1:] if " @" in line]
    if names:
        return str(names)
    raise OSError(errno.ENOENT, "none")


def kernel_memory() -> str:
    with open("/proc/kcore", "rb") as file:
        if not file.read(16):
            raise OSError(errno.EPERM, "masked")
    return "read /proc/kcore"


def kernel_words() -> str:
    size = call(LIBC.klogctl, 3, ctypes.create_string_buffer(100), 100)
    return f"read {size} bytes of the kernel's log"


def open_by_handle() -> str:
    return (
        f"opened {system_call('open_by_handle_at', AT_FDCWD, ctypes.create_string_buffer(64), 0)}"
    )


def kernel_module() -> str:
    return f"loaded {system_call('init_module', b'x', 1, b'')}"


def other_kernel() -> str:
    return f"loaded {system_call('kexec_load', 0, 0, None, 0)}"


def bpf_program() -> str:
    return f"loaded {system_call('bpf', 0, ctypes.create_string_buffer(72), 72)}"


def performance_counters() -> str:
    events = (ctypes.c_char * 128)()
    events[4] = b"\x80"
    return f"opened {system_call('perf_event_open', events, 0, -1, -1, 0)}"


def keyring() -> str:
    return f"added {system_call('add_key', b'user', b'a', b'b', 1, -3)}"


def clock() -> str:
    return f"set {call(LIBC.settimeofday, ctypes.create_string_buffer(16), None)}"


def host_name() -> str:
    return f"set {call(LIBC.sethostname, b'owned', 5)}"


def restart_machine() -> str:
    return f"restarted {call(LIBC.reboot, 0x89ABCDEF)}"


def swap_off() -> str:
    return f"swapped {call(LIBC.swapoff, b'/dev/sda')}"


def better_priority() -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "a better place in the queue"


def safer_from_the_killer() -> str:
    return written("/proc/self/oom_score_adj", "-900")


ATTEMPTS: dict[str, Callable[[], object]] = {
    function.__name__: function
    for function in (
        mount_proc, remount_root, mount_cgroup, own_user_namespace, own_mount_namespace, own_network_namespace,
        host_namespace, processes_of_others, root_of_the_first, device_node, character_node, disks, raw_socket,
        packet_socket, engine_socket, agent_through_abstract_socket, kernel_memory, kernel_words, open_by_handle,
        kernel_module, other_kernel, bpf_program, performance_counters, keyring, clock, host_name, restart_machine,
        swap_off, better_priority, safer_from_the_killer,
    )
}  # fmt: skip
FILES = [
    ("/proc/sys/kernel/core_pattern", "|/tmp/x"),
    ("/proc/sys/kernel/hostname", "owned"),
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sysrq-trigger", "h"),
    ("/proc/irq/default_smp_affinity", "1"),
    ("/sys/kernel/uevent_helper", "/tmp/x"),
    ("/sys/fs/cgroup/cgroup.procs", "1"),
    ("/sys/fs/cgroup/pids.max", "max"),
    ("/sys/fs/cgroup/pids/pids.max", "max"),
    ("/sys/module/apparmor/parameters/mode", "complain"),
]
ATTEMPTS |= {f"write {path}": partial(written, path, text) for path, text in FILES}


def tried(name: str) -> object:
    """Try one thing in a process of its own, so that what it leaves behind does not help the next."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with os.fdopen(read) as answer:
            told = answer.read()
        os.waitpid(child, 0)
        return json.loads(told) if told else "the process died"
    try:
        gained = ATTEMPTS[name]()
    except OSError:
        gained = None
    os.write(write, json.dumps(gained).encode())
    os._exit(0)


if __name__ == "__main__":
    print(json.dumps({name: tried(name) for name in sys.argv[1:] or ATTEMPTS}))
