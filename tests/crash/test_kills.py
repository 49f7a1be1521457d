"""kill -9 of every program at every moment: the supervisor brings it back, and the end is the same.

The end: the rental became usable and was ended, or ended by itself with a reason; no container, port,
network or tunnel is left, and the bill is rate x seconds (tests.invariants).
"""

from __future__ import annotations

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from tests.stacks import Platform, wait_for

PROGRAMS = ["agent", "frpc", "frps", "gate", "gateway", "worker", "beat", "web"]
MOMENTS = ["committed", "pulling", "starting", "running", "stopping"]


def forget_image(site: Platform) -> None:
    """Make the next start download the image again."""
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)

    def removed() -> bool:
        try:
            engine.images.remove(site.stack.image, force=True)
        except ImageNotFound:
            return True
        except APIError:
            return False
        return True

    wait_for(removed, seconds=20, what="the image to be unused")


def reach(site: Platform, moment: str) -> str:
    """Bring a new rental to the moment at which something dies; return its id."""
    if moment == "pulling":
        forget_image(site)
    rental_id = site.rent()
    if moment == "committed":
        return rental_id
    if moment == "stopping":
        site.wait_state(rental_id, "running")
        assert site.act(rental_id, "end").status_code == 200
        return rental_id
    reached = {
        "pulling": ("pulling", "starting", "running"),
        "starting": ("starting", "running"),
        "running": ("running",),
    }[moment]
    site.wait_state(rental_id, *reached)
    return rental_id


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_program_changes_nothing_in_the_end(
    site: Platform, program: str, moment: str
) -> None:
    rental_id = reach(site, moment)
    old = site.stack.kill(program)
    site.stack.wait_restarted(program, old)
    if moment != "stopping":
        rental = site.wait_state(rental_id, "running", "ended", seconds=60)
        assert rental["state"] == "running", rental["end"]
        answers = site.ssh(rental, "echo alive")
        wait_for(
            lambda: answers.stdout == "alive\n" or site.ssh(rental, "echo alive").stdout,
            seconds=30,
            what="SSH through the public port",
        )
        assert site.act(rental_id, "end").status_code == 200
    site.wait_state(rental_id, "ended", seconds=60)
