"""The exact bytes that a node's Ed25519 key signs. Both sides build them here and nowhere else."""

from __future__ import annotations

SEPARATOR = b"\x1f"


def session_statement(*, deployment: str, node_id: str, key_id: str, nonce: str) -> bytes:
    """Return what opens a session: bound to deployment, node, key and a single-use nonce."""
    parts = ("dc-session-v1", deployment, node_id, key_id, nonce)
    return SEPARATOR.join(part.encode() for part in parts)


def join_statement(*, node_key: str, public_key: str, instance_id: str) -> bytes:
    """Return what a join signs: proof that the sender holds the private key it registers."""
    parts = ("dc-join-v1", node_key, public_key, instance_id)
    return SEPARATOR.join(part.encode() for part in parts)
