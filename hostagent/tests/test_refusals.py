"""Whose doing a refused start is: what real engines say, mostly Docker 20.10 with runc."""

from __future__ import annotations

import pytest

from hostagent.planner import Container, why_it_failed
from hostagent.refusals import refused

INIT = "OCI runtime create failed: runc create failed: unable to start container process: "
MOUNT = 'error mounting "/a/{}" to rootfs at "/etc/{}": mount (via /proc/self/fd/6), flags: 0x5001: {}: unknown'


@pytest.mark.parametrize(
    "words",
    [
        "unable to find user nobodyhere: no matching entries in passwd file",
        "unable to find group nogroup: no matching entries in group file",
        # What a renter names cannot put it on the machine.
        "unable to find user nvidia: no matching entries in passwd file",
        "unable to find user docker-init: no matching entries in passwd file",
        "No command specified",
        "the working directory 'relative' is invalid, it needs to be an absolute path",
        "Cannot mkdir: /srv/app is not a directory",
        "lstat /var/lib/docker/overlay2/e7c6/merged/srv/app/x: not a directory",
        f'{INIT}exec: "/etc": permission denied: unknown',
        f'{INIT}exec: "nvidia-train": executable file not found in $PATH: unknown',
        f'{INIT}exec: "/opt/nvidia/docker-init": stat /x: no such file or directory: unknown',
        f'{INIT}exec: "cdi": executable file not found in $PATH: unknown',
        'container_linux.go:380: starting container process caused: exec: "x": executable file not found in $PATH',
        f"{INIT}error during container init: {MOUNT.format('keys/1', 'dcompute/authorized_keys', 'not a directory')}",
        f"{INIT}exec /bin/x: exec format error",
    ],
)
def test_what_an_image_or_its_command_lacks_is_its_renters(words: str) -> None:
    assert refused(words)[0] == "image_cannot_start"


@pytest.mark.parametrize(
    "words",
    [
        "mkdir /var/lib/docker/overlay2/x: no space left on device",
        # The container's first program is the engine's own.
        f'{INIT}exec: "/sbin/docker-init": stat /sbin/docker-init: no such file or directory: unknown',
        'exec: "docker-init": executable file not found in $PATH',
        f"{INIT}error during container init: {MOUNT.format('b', 'hosts', 'not a directory')}",
        f"{INIT}error during container init: {MOUNT.format('b', 'dcompute/launch', 'permission denied')}",
        "No such image: registry.example/x:1",
        "something that no engine has said yet",
        "",
    ],
)
def test_what_is_the_machines_or_cannot_be_known_is_not_the_renters(words: str) -> None:
    assert refused(words) == ("container_start_failed", words)


@pytest.mark.parametrize(
    "words",
    [
        'could not select device driver "" with capabilities: [[gpu]]',
        f"{INIT}error running hook #0: nvidia-container-cli: initialization error: nvml error: driver not loaded",
        "error gathering device information while adding custom device",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0",
    ],
)
def test_gpus_that_a_machine_cannot_give_are_its_hardware(words: str) -> None:
    assert refused(words)[0] == "hardware_failed"


def test_where_a_machine_keeps_its_layers_is_not_told() -> None:
    told = refused("lstat /var/lib/docker/overlay2/e7c6/merged/data/x: not a directory")[1]
    assert told == "lstat /data/x: not a directory"


def test_an_exit_that_says_why_is_put_into_words() -> None:
    assert why_it_failed(Container.EXITED, {"ExitCode": 127}) == (
        "container_exited",
        "The container ended by itself (exit 127: usually its command is not in the image).",
    )
    assert "another kind of processor" in why_it_failed(Container.EXITED, {"ExitCode": 126})[1]
