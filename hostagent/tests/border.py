"""A fake at the border: an HTTP server that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

VERSION = re.compile(r"^/v\d\.\d+")


@dataclass
class Border:
    """`answers`: "METHOD /path" -> (status, body); a str body is a stream of chunks, others are JSON."""

    port: int = 0
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def engine_address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def calls(self) -> list[str]:
        return [call for call, _ in self.asked if call != "GET /version"]


@contextmanager
def serving() -> Iterator[Border]:
    """Serve a fake on a free port of loopback; what nobody wrote down is a 404."""
    border = Border(answers={"GET /version": (200, {"ApiVersion": "1.43"})})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            call = f"{self.command} {VERSION.sub('', urlsplit(self.path).path)}"
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            border.asked.append((call, json.loads(body) if body else None))
            status, told = border.answers.get(call, (404, {"message": "No such image or thing"}))
            stream = isinstance(told, str)
            data = told.encode() if stream else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if stream:
                self.send_header("Transfer-Encoding", "chunked")
                data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
            else:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    border.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield border
    finally:
        server.shutdown()
        server.server_close()
