"""What a rental's network may reach: the internet, and nothing near this machine.

One nft `inet` table of our own, loaded in one step, covering IPv6; Docker never touches it. It is proven
by packets, never by listing: `prove` makes a network namespace behind an interface of the rentals'
kind and tries to reach this host from there.
"""

from __future__ import annotations

import fcntl
import ipaddress
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BRIDGE_PREFIX = "mk"
TABLE = "dcompute"
PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    # The metadata service of one cloud has a public address.
    "168.63.129.16/32",
)  # fmt: skip
# Where the resolvers stand that the engine hands to containers; the second when the first is a stub.
RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
CANARY_LOCK = Path("/run/dcompute-canary.lock")
# The canary's own link: not routed anywhere, taken from the range for benchmarks between networks.
CANARY_HOST, CANARY_INSIDE = "198.18.255.1", "198.18.255.2"


class NetworkPolicyError(Exception):
    """The rules could not be loaded; the message says why and what to do."""


def resolvers(resolv_conf: str) -> list[str]:
    """Return the IPv4 resolvers of a resolv.conf that are not on loopback."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if address.version == 4 and not address.is_loopback:
                found.append(str(address))
    return found


def host_resolvers(files: Sequence[Path] = RESOLV_CONFS) -> list[str]:
    """Return the resolvers that rentals of this host ask, from the first file that names any."""
    for path in files:
        try:
            found = resolvers(path.read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return found
    return []


def ruleset(allowed_resolvers: list[str]) -> str:
    """Return the nft script that makes the table, replacing an older one in the same transaction."""
    ours = f'"{BRIDGE_PREFIX}*"'
    dns = ""
    if allowed_resolvers:
        addresses = ", ".join(allowed_resolvers)
        dns = f"""
        iifname {ours} ip daddr {{ {addresses} }} udp dport 53 accept
        iifname {ours} ip daddr {{ {addresses} }} tcp dport 53 accept"""
    return f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    chain rentals_forward {{
        type filter hook forward priority -10; policy accept;
        ct state established,related accept
        oifname {ours} drop{dns}
        iifname {ours} ip daddr {{ {", ".join(PRIVATE)} }} reject
        iifname {ours} tcp dport 25 reject
        iifname {ours} meta nfproto ipv6 drop
    }}
    chain rentals_input {{
        type filter hook input priority -10; policy accept;
        iifname {ours} ct state established,related accept
        iifname {ours} drop
    }}
}}
"""


def load() -> None:
    """Load the table; raises NetworkPolicyError."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        raise NetworkPolicyError("nft is missing: install the package nftables")
    script = ruleset(host_resolvers())
    done = subprocess.run(
        [nft, "-f", "-"], input=script, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise NetworkPolicyError(f"nft refused the rules: {done.stderr.strip()[:300]}")


def prove() -> bool:
    """Whether a packet from a rental's interface is really kept from this host; needs root."""
    ip = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if ip is None:
        return False
    # Agents on one machine share the canary's names: one after the other.
    with CANARY_LOCK.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return _prove(ip)


def _prove(ip: str) -> bool:
    name = f"dc-canary-{socket.gethostname()[:8]}"
    outside, inside = f"{BRIDGE_PREFIX}canary0", "dccanary1"

    def run(*words: str) -> bool:
        return subprocess.run([ip, *words], capture_output=True, check=False).returncode == 0

    run("netns", "delete", name)
    run("link", "delete", outside)
    try:
        ready = (
            run("netns", "add", name)
            and run("link", "add", outside, "type", "veth", "peer", "name", inside)
            and run("link", "set", inside, "netns", name)
            and run("address", "add", f"{CANARY_HOST}/30", "dev", outside)
            and run("link", "set", outside, "up")
            and run("-n", name, "address", "add", f"{CANARY_INSIDE}/30", "dev", inside)
            and run("-n", name, "link", "set", inside, "up")
        )
        return ready and not _reaches_host(ip, name)
    finally:
        run("netns", "delete", name)
        run("link", "delete", outside)


def _reaches_host(ip: str, namespace: str) -> bool:
    with socket.create_server((CANARY_HOST, 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('{CANARY_HOST}', {port}), 0.5)"
        attempt = subprocess.run(
            [ip, "netns", "exec", namespace, sys.executable, "-c", code],
            capture_output=True,
            check=False,
        )
        return attempt.returncode == 0
