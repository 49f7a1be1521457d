"""A registry at the border: a real HTTP server on loopback that holds images and answers as a test wrote down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rentals.registry.shapes import INDEX_TYPES, MANIFEST_TYPES, digest_of

# (status, headers, body), or a function of the handler that writes the answer itself.
Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


def diff(number: int) -> str:
    """Return the digest of made-up layer `number`, unpacked."""
    return digest_of(f"unpacked {number}".encode())


@dataclass
class Registry:
    """`answers`: path with query -> answer; `asked`: (path with query, authorization header)."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def name(self, repository: str = "team/app", tag: str = "1") -> str:
        return f"{self.host}/{repository}:{tag}"

    def holds(
        self,
        repository: str = "team/app",
        tag: str = "1",
        *,
        sizes: tuple[int, ...] = (1000, 500),
        architectures: tuple[str, ...] = ("amd64",),
        **config: Any,
    ) -> str:
        """Put an image here with layers of these compressed sizes; return the digest of its name."""
        entries, body = [], b""
        for architecture in architectures:
            body = self._manifest(repository, architecture, sizes, config)
            digest = self._put(f"/v2/{repository}/manifests/", body)
            platform = {"architecture": architecture, "os": "linux"}
            entries.append({"digest": digest, "size": len(body), "platform": platform})
        if len(entries) > 1:
            unknown = {"architecture": "unknown", "os": "unknown"}
            entries.append({**entries[0], "platform": unknown})
            body = json.dumps({"mediaType": INDEX_TYPES[0], "manifests": entries}).encode()
        self._put(f"/v2/{repository}/manifests/", body)
        self.answers[f"/v2/{repository}/manifests/{tag}"] = (200, {}, body)
        return digest_of(body)

    def _manifest(
        self, repository: str, architecture: str, sizes: tuple[int, ...], config: dict[str, Any]
    ) -> bytes:
        told = {
            "architecture": architecture,
            "config": config,
            "rootfs": {"diff_ids": [diff(i) for i in range(len(sizes))]},
        }
        document = json.dumps(told).encode()
        digest = self._put(f"/v2/{repository}/blobs/", document)
        layers = [
            {"digest": digest_of(f"layer {i}".encode()), "size": size}
            for i, size in enumerate(sizes)
        ]
        shown = {
            "mediaType": MANIFEST_TYPES[0],
            "config": {"digest": digest, "size": len(document)},
            "layers": layers,
        }
        return json.dumps(shown).encode()

    def _put(self, folder: str, body: bytes) -> str:
        digest = digest_of(body)
        self.answers[folder + digest] = (200, {}, body)
        return digest

    def says(self, path: str, told: Any, status: int = 200, **headers: str) -> None:
        """Answer a path with this, as JSON unless it is bytes."""
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.answers[path] = (status, headers, body)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextmanager
def serving() -> Iterator[Registry]:
    """Serve a registry on a free port of loopback; what it does not hold is a 404."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.asked.append((self.path, self.headers.get("Authorization", "")))
            answer = registry.answers.get(self.path, (404, {}, b"{}"))
            if callable(answer):
                answer(self)
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
