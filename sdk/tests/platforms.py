"""Servers that are not our platform: each answers what a test wrote down, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], str]
Heard = list[tuple[str, str, str]]
Serve = Callable[[list[Answer]], tuple[str, Heard]]


@contextmanager
def serving_answers() -> Iterator[Serve]:
    """Give a function that starts a server with these answers, and returns its address and what it hears."""
    running: list[ThreadingHTTPServer] = []

    def serve(answers: list[Answer]) -> tuple[str, Heard]:
        heard: Heard = []

        class Door(BaseHTTPRequestHandler):
            def answer(self) -> None:
                heard.append((self.command, self.path, self.headers.get("Idempotency-Key", "")))
                status, headers, body = answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", heard

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()
