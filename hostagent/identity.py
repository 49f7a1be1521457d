"""Who this machine is: an Ed25519 key pair on disk before anyone hears of it, and what a join brought."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class Membership:
    """What a join answered, with the node key that opens the socket."""

    node_id: str
    key_id: str
    deployment: str
    gateway_url: str
    node_key: str


def write_private(path: Path, data: bytes) -> None:
    """Replace a file (mode 0600) so that a crash leaves the old or the new one, never half of one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def rewrite(path: Path, data: bytes) -> None:
    """Change a file's content in place: whoever has it mounted keeps seeing this very file.

    One that is gone is made again: an engine would mount an empty folder in its stead.
    """
    if not path.exists():
        write_private(path, data)
        return
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


class Identity:
    """The key pair and the instance id of one state folder; made once, kept for ever."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key_file = folder / "node.key"
        if not key_file.exists():
            fresh = Ed25519PrivateKey.generate()
            write_private(
                key_file, fresh.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
            )
        self._key = Ed25519PrivateKey.from_private_bytes(key_file.read_bytes())
        instance_file = folder / "instance"
        if not instance_file.exists():
            write_private(instance_file, uuid.uuid4().hex.encode())
        # A copied disk has the same file; the boot id of the running kernel tells copies apart.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.boot_id = boot
        self.instance_id = f"{instance_file.read_text()}:{_machine_id()}"

    @property
    def public_key(self) -> str:
        """The public key in hex."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, statement: bytes) -> str:
        """Return the signature of a statement in hex."""
        return self._key.sign(statement).hex()

    def save_membership(self, membership: Membership) -> None:
        """Write down what the join answered."""
        write_private(self.folder / "membership.json", json.dumps(asdict(membership)).encode())

    def membership(self) -> Membership | None:
        """Return what the join answered, or None before the first join."""
        path = self.folder / "membership.json"
        return Membership(**json.loads(path.read_text())) if path.exists() else None


def _machine_id() -> str:
    for path in (Path("/sys/class/dmi/id/product_uuid"), Path("/etc/machine-id")):
        try:
            return path.read_text().strip()
        except OSError:
            continue
    return "unknown"
