"""The web page of the demo image: says what this container is. Standard library only."""

from __future__ import annotations

import html
import os
import platform
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<style>body{{font:16px/1.5 system-ui;margin:10vh auto;max-width:38rem;padding:0 1rem}}
td{{padding:.2rem 1.5rem .2rem 0}}</style></head>
<body><h1>Your machine is running</h1><table>{rows}</table></body></html>
"""


def facts() -> dict[str, str]:
    """Return what the page shows, by label."""
    return {
        "Name": platform.node(),
        "System": platform.platform(),
        "Python": platform.python_version(),
        "CPUs seen": str(os.cpu_count()),
        "Load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


class Page(BaseHTTPRequestHandler):
    """Answers every GET with the facts."""

    server_version = "dcompute-demo"
    sys_version = ""

    def do_GET(self) -> None:
        """Send the page."""
        found = facts()
        rows = "".join(
            f"<tr><td>{html.escape(label)}</td><td>{html.escape(value)}</td></tr>"
            for label, value in found.items()
        )
        body = PAGE.format(name=html.escape(found["Name"]), rows=rows).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Page).serve_forever()
