"""Make the tunnels' certificates in a folder, unless they are there: `python -m deploy.compose.certificates FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.local.tunnels import make_certificates


def main(folder: Path) -> None:
    """Make the authority's certificate and the server's with its key."""
    if not (folder / "ca.pem").exists():
        make_certificates(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
