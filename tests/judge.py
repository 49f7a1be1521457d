"""`python -m tests.judge`: wait until a stack is quiet, then print what is broken in it as JSON.

Runs with a stack's environment, so that it sees that stack's database, engine and proxy server.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django
import docker

django.setup()

from audit import services as audit  # noqa: E402  # models need the set-up
from tests import invariants  # noqa: E402

PATIENCE_SECONDS = 20.0


def main() -> int:
    engine = docker.DockerClient(base_url=os.environ["DOCKER_HOST"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    problems = ["never looked"]
    # What is still on its way is not broken; what stays wrong until the deadline is.
    while problems and time.monotonic() < deadline:
        time.sleep(0.2)
        audit.seal_new()
        problems = invariants.broken(engine=engine, tunnels=True)
        if not invariants.quiet():
            problems = [*problems, "not quiet: something is still on its way"]
    print(json.dumps(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
